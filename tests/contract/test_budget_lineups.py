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
        checks = {}
        for lineup in LINEUPS:
            bench = Bench(tmp_path_factory.mktemp(lineup), STACK, FILES)
            stack.callback(bench.close)
            port = free_port()
            bench.up("--lineup", lineup, "--port", f"https={port}")
            host = next(url for label, url in bench.status()["urls"].items() if label.startswith("https"))
            checks[lineup] = Checks(host, "budget.test")

        async def run() -> list[dict[str, str | None]]:
            return await asyncio.gather(*(each.run() for each in checks.values()))

        yield dict(zip(checks, asyncio.run(run()), strict=True))


@pytest.mark.parametrize("lineup", LINEUPS)
@pytest.mark.parametrize("check", CHECKS)
def test_real_traffic_passes(lineup: str, check: str, found: dict[str, dict[str, str | None]]) -> None:
    assert found[lineup][check] is None
