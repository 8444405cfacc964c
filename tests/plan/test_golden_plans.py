"""Golden pairs: a stack file and the plan it becomes, as `tierline plan --json` prints it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import TIERLINE

GOLDEN = Path(__file__).parents[1] / "golden" / "plan"
CINEMA = Path(__file__).parents[2] / "examples" / "cinema"


def printed(stack: Path, *words: str, seed: str = "0") -> str:
    done = subprocess.run(
        [*TIERLINE, "plan", str(stack), *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.stdout


@pytest.mark.parametrize("stack", sorted(GOLDEN.glob("*.py")), ids=lambda path: path.stem)
def test_a_stack_becomes_the_plan_that_it_became_before(
    stack: Path, golden: Callable[[Path, str], None]
) -> None:
    golden(stack.with_suffix(".json"), printed(stack, "--json"))


@pytest.mark.parametrize("stack", [GOLDEN / "shop.py", CINEMA / "stack.py"], ids=["shop", "cinema"])
def test_a_plan_is_the_same_bytes_whatever_the_hash_seed(stack: Path) -> None:
    assert printed(stack, "--json", seed="1") == printed(stack, "--json", seed="4711")
    assert printed(stack, "--svg", seed="1") == printed(stack, "--svg", seed="4711")


def test_every_golden_plan_has_its_stack() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {path.stem for path in GOLDEN.glob("*.py")}
