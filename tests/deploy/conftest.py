"""Stacks as CloudFormation, and the local AWS server to create them on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_aws import Account, serving
from stack_files import STACKS, synthesis

from tierline.deploy.synth import Synthesis


@pytest.fixture(scope="session")
def synthesized() -> Callable[[str], Synthesis]:
    """`synthesized("cinema")`: made once for all tests."""
    made: dict[str, Synthesis] = {}

    def get(name: str) -> Synthesis:
        if name not in made:
            made[name] = synthesis(STACKS[name])
        return made[name]

    return get


@pytest.fixture
def synthesize_text(tmp_path: Path) -> Callable[[str], Synthesis]:
    """`synthesize_text(source)`: the text of a stack file, as CloudFormation."""

    def make(source: str) -> Synthesis:
        file = tmp_path / "stack.py"
        file.write_text("from tierline import *\n" + source)
        return synthesis(file)

    return make


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An empty account on the local AWS server."""
    try:
        with serving(tmp_path_factory.mktemp("aws")) as address:
            yield Account(address)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the local AWS server can't be installed: {error}")
