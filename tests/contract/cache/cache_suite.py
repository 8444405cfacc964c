"""The suite that every system of the `cache` tier inherits: the table, one test a line, and the score."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import table_abuse  # noqa: F401  they fill the table
import table_freshness  # noqa: F401
import table_live  # noqa: F401
import table_odd  # noqa: F401
import table_rfc  # noqa: F401
import table_storing  # noqa: F401
import table_validation  # noqa: F401
from cache_lab import TABLE, Origin, Trial, try_all
from cache_line import Line
from purge_suite import TRYINGS

from tierline.errors import EngineError
from tierline.run.line import engine
from tierline.tiers.base import system


async def _tried(trying: Awaitable[None]) -> str:
    try:
        await trying
    except AssertionError as wrong:
        return str(wrong) or "does not hold"
    except Exception as broken:
        return repr(broken)
    return ""


class CacheSuite:
    """A subclass names its system, and the share of what is required that it reaches."""

    system: ClassVar[str]
    required: ClassVar[float]

    timing: ClassVar[dict[str, str]] = {}
    """Behaviours that hold or don't by how fast a request's parts arrive, with the reason."""

    @pytest.fixture(scope="class")
    def results(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
        """What went wrong by behaviour, tried all at once on one running line."""
        try:
            engine(system("cache", self.system).engine).binary()
        except EngineError as missing:
            pytest.skip(str(missing))

        async def measure(root: Path) -> dict[str, str]:
            origin = Origin()
            await origin.start()
            line = Line("cache", self.system, origin.port, root, client_control=True)
            try:
                await asyncio.to_thread(line.start)
                found = await try_all(origin, line.address, lacks=system("cache", self.system).lacks)
                for name, (feature, trying) in TRYINGS.items():
                    if not feature or feature in system("cache", self.system).supports:
                        found[name] = await _tried(trying(Trial(origin, line.address, name), line))
                return found
            finally:
                await asyncio.to_thread(line.stop)
                await origin.stop()

        yield asyncio.run(measure(tmp_path_factory.mktemp(self.system)))

    @pytest.mark.parametrize("name", sorted(TABLE))
    def test_behaviour(self, results: dict[str, str], name: str) -> None:
        each, declared = TABLE[name], system("cache", self.system).lacks
        if name in declared:
            assert results[name], f"{name} holds now: take it out of `lacks` of cache.{self.system}"
            pytest.xfail(declared[name])
        if results[name] and name in self.timing:
            pytest.xfail(self.timing[name])
        assert not results[name], f"RFC {each.section}: {each.says} {results[name]}"

    @pytest.mark.parametrize("name", sorted(TRYINGS))
    def test_purge(self, results: dict[str, str], name: str) -> None:
        if name not in results:
            feature, plays = TRYINGS[name][0], system("cache", self.system)
            assert plays.lacks[feature], f"cache.{self.system} neither supports {feature} nor says why not"
            pytest.xfail(plays.lacks[feature])
        if name in system("cache", self.system).lacks:
            assert results[name], f"{name} holds now: take it out of `lacks` of cache.{self.system}"
            pytest.xfail(system("cache", self.system).lacks[name])
        assert not results[name], f"{TRYINGS[name][1].__doc__} {results[name]}"

    def test_score(self, results: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        required = [name for name, each in TABLE.items() if each.required]
        optional = [name for name in TABLE if name not in required]
        held = sum(not results[name] for name in required)
        with capsys.disabled():
            print(
                f"\ncache.{self.system}: {held} of {len(required)} required ({held / len(required):.0%}), "
                f"{sum(not results[name] for name in optional)} of {len(optional)} optional"
            )
        assert held / len(required) >= self.required
