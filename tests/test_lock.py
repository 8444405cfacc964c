"""The lock file serves every Python that the README names: what a package needs on one of them alone is in it."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
NAMED = re.search(r"Python (3\.\d+) to (3\.\d+)", (ROOT / "README.md").read_text())


def pythons() -> list[str]:
    """From the oldest patch of the oldest minor version on; Debian 12's own is 3.11.2."""
    assert NAMED, "the README names the oldest and the newest Python"
    first, last = (int(each.partition(".")[2]) for each in NAMED.groups())
    return [f"3.{first}.0", f"3.{first}.2", *(f"3.{minor}.9" for minor in range(first, last + 1))]


def needed(python: str) -> dict[str, SpecifierSet]:
    """What is needed on a Python, by name, all extras of the project included: as the packages' metadata says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = [
        *project["dependencies"],
        *(each for more in project["optional-dependencies"].values() for each in more),
    ]
    environment = {
        **default_environment(), "python_full_version": python, "python_version": python.rpartition(".")[0],
    }  # fmt: skip
    found: dict[str, SpecifierSet] = {}
    done: set[tuple[str, str]] = set()
    left = [(Requirement(each), "") for each in said]
    while left:
        requirement, extra = left.pop()
        if requirement.marker is not None and not requirement.marker.evaluate(
            {**environment, "extra": extra}
        ):
            continue
        name = canonicalize_name(requirement.name)
        found[name] = found.get(name, SpecifierSet()) & requirement.specifier
        for wanted in {"", *requirement.extras}:
            if (name, wanted) in done:
                continue
            done.add((name, wanted))
            try:
                told = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:  # of another Python than this one
                continue
            left += [(Requirement(each), wanted) for each in told]
    return found


@pytest.mark.parametrize("python", pythons())
def test_all_that_a_python_needs_is_locked(python: str) -> None:
    locked = {canonicalize_name(name): version for name, version in LOCKED.items()}
    wanted = needed(python)
    assert "redis" in wanted
    missing = {name: str(spec) for name, spec in wanted.items() if name not in locked and name != "tierline"}
    assert missing == {}, f"requirements.lock can't be installed on Python {python}"
    wrong = {
        name: locked[name]
        for name, spec in wanted.items()
        if name in locked and not spec.contains(locked[name], True)
    }
    assert wrong == {}


@pytest.mark.parametrize("python", pythons())
def test_every_locked_package_is_for_that_python(python: str) -> None:
    refused = []
    for name in LOCKED:
        try:
            allowed = importlib.metadata.metadata(name).get("Requires-Python") or ""
        except importlib.metadata.PackageNotFoundError:
            continue
        if not SpecifierSet(allowed).contains(python, True):
            refused.append(f"{name} {allowed}")
    assert refused == []
