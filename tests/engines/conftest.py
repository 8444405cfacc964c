"""Fixtures of the engines' tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import LocalContext, Runner

from tierline.plan.model import Unit


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that nobody else may enter, as a project below /root is."""
    path = Path(tempfile.mkdtemp(prefix="tierline-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def line(root: Path) -> Iterator[Any]:
    """`line(*units)` makes a runner whose processes end with the test."""
    runners: list[Runner] = []

    def make(*units: Unit) -> Runner:
        runners.append(Runner(LocalContext(root, units)))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()
