"""The page about journeys, checked against the code: its examples run, its names exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import tierline.journeys
from tierline.journeys import Journey, build
from tierline.journeys.journey import BUILTINS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "journeys.md").read_text()


def test_the_examples_run_in_order() -> None:
    names: dict[str, Any] = {"__name__": "docs_journeys"}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        exec(compile(block, "docs/journeys.md", "exec"), names)
    names["test_film"]()


def test_every_word_and_builtin_is_on_the_page() -> None:
    words = set(inspect.signature(tierline.journeys.Journey.part).parameters) - {"self", "function", "name"}
    assert {word for word in words if f"`{word}=" not in PAGE} == set()
    assert {name for name in BUILTINS if f"`{name}`" not in PAGE} == set()


@pytest.mark.parametrize("page", ["writes.md", "caching-and-privacy.md"])
def test_the_pages_about_writes_and_caching_can_be_built(page: str) -> None:
    names: dict[str, Any] = {"__name__": f"docs_{page}"}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        exec(compile(block, page, "exec"), names)
    journeys = [each for each in names.values() if isinstance(each, Journey)]
    services = dict.fromkeys(("catalog", "payments", "orders", "members"), object())
    assert build(journeys, services=services)
