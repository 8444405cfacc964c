"""Golden pairs: a stack file and what it becomes in CloudFormation, as `tierline synth --json` prints it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from stack_files import GOLDEN, STACKS

from workbench import TIERLINE


def printed(stack: Path, *words: str, seed: str = "0") -> str:
    return subprocess.run(
        [*TIERLINE, "synth", str(stack), *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
    ).stdout


@pytest.mark.parametrize("name", sorted(STACKS))
def test_a_stack_becomes_the_templates_that_it_became_before(
    name: str, golden: Callable[[Path, str], None]
) -> None:
    golden(GOLDEN / f"{name}.json", printed(STACKS[name], "--json"))


@pytest.mark.parametrize("name", ["cinema", "shop"])
def test_templates_are_the_same_bytes_whatever_the_hash_seed(name: str) -> None:
    assert printed(STACKS[name], "--json", seed="1") == printed(STACKS[name], "--json", seed="4711")


def test_every_golden_template_has_its_stack() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(STACKS)


def test_a_folder_gets_a_template_per_stack_and_their_order(tmp_path: Path) -> None:
    told = printed(STACKS["cinema"], "--out", str(tmp_path / "out"))
    order = json.loads((tmp_path / "out" / "stacks.json").read_text())
    assert [each["template"] for each in order["stacks"]] == [
        "names.json",
        "network.json",
        "data.json",
        "apps.json",
        "edge.json",
    ]
    for each in order["stacks"]:
        assert json.loads((tmp_path / "out" / each["template"]).read_text())["Resources"]
        assert each["name"] in told
    assert set(order["stacks"][3]["asks"]) == {"Image", "Jwks"}
    assert "give Jwks" in told


def test_a_plan_whose_system_does_not_deploy_is_refused() -> None:
    done = subprocess.run(
        [*TIERLINE, "synth", str(STACKS["plain"]), "--use", "lb=haproxy"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "HAProxy has no CloudFormation" in done.stderr
