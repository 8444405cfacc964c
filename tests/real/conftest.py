"""The cinema's whole line, once for all tests here: a copy, so that nobody's running line is disturbed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench import Bench

CINEMA = Path(__file__).parents[2] / "examples" / "cinema"


@pytest.fixture(scope="session")
def cinema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("real") / "cinema"
    shutil.copytree(CINEMA, folder, ignore=shutil.ignore_patterns(".tierline*", "__pycache__"))
    stack = folder / "stack.py"
    text = stack.read_text()
    one = "limits=["
    assert text.count(one) == 1
    # One more limit, low enough to be reached by a test.
    stack.write_text(text.replace(one, f'{one}RateLimit(2, per="1s", by="client", paths=["/leaderboard"]), '))
    line = Bench(folder)
    line.up(timeout=90)
    yield line
    line.close()
