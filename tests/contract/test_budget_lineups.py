"""Whole lines, in every lineup that runs here, let real traffic through; all wait at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from budget_suite import FILES, STACK, Checks

from ports import free_port
from workbench import Bench

LINEUPS = ("embedded", "fast", "popular", "alternate")
CHECKS = sorted(name.removeprefix("check_") for name in dir(Checks) if name.startswith("check_"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str | None]]]:
    """What became of each check, by lineup."""
    with contextlib.ExitStack() as stack:
        benches = {lineup: Bench(tmp_path_factory.mktemp(lineup), STACK, FILES) for lineup in LINEUPS}
        for bench in benches.values():
            stack.callback(bench.close)

        def started(lineup: str) -> Checks:
            benches[lineup].up("--lineup", lineup, "--port", f"https={free_port()}")
            urls = benches[lineup].status()["urls"].items()
            return Checks(next(url for label, url in urls if label.startswith("https")), "budget.test")

        async def run() -> list[dict[str, str | None]]:
            # What waits in one line does so while the next one starts.
            checks = [
                asyncio.create_task((await asyncio.to_thread(started, lineup)).run()) for lineup in LINEUPS
            ]
            return await asyncio.gather(*checks)

        yield dict(zip(LINEUPS, asyncio.run(run()), strict=True))


@pytest.mark.parametrize("lineup", LINEUPS)
@pytest.mark.parametrize("check", CHECKS)
def test_real_traffic_passes(lineup: str, check: str, found: dict[str, dict[str, str | None]]) -> None:
    assert found[lineup][check] is None
