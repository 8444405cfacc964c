"""The page of limits says what the budget's code does."""

from __future__ import annotations

from pathlib import Path

import tierline
from tierline import Gateway, Service, Stack
from tierline.lineups import EMBEDDED
from tierline.plan.budgets import ANSWERS, FIELDS, shown
from tierline.plan.resolve import resolve

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
WORDS = {
    "body": "request body",
    "request_line": "request line",
    "request_fields": "request fields in all",
    "field_count": "number of request fields",
    "answer_fields": "answer fields in all",
    "connect": "time for a connection to the next tier",
    "first_byte": "time until an answer begins",
    "upload": "time for a body to arrive",
    "idle": "silence, in both directions",
    "total": "time for a request and its whole answer",
}
OWNERS = ("Gateway", "Route", "Service", "LoadBalancer", "CDN")


def table() -> str:
    stack = Stack(
        "limits", gateway=Gateway(), services=[Service("web", "app:app", expose=["/"])], zones=["a"]
    )
    (budget,) = resolve(stack, EMBEDDED).budgets
    lines = ["| limit | default | settings | beyond it a client gets |", "|---|---|---|---|"]
    for field, word in WORDS.items():
        setting = FIELDS.get(field, "")
        owners = [name for name in OWNERS if setting in getattr(tierline, name).__settings__]
        said = f"`{setting}=` of {', '.join(owners)}" if owners else "none"
        lines.append(f"| {word} | {shown(field, getattr(budget, field))} | {said} | {ANSWERS[field]} |")
    return "\n".join(lines) + "\n"


def test_each_limit_is_on_the_page_once(regenerate: bool) -> None:
    text = PAGE.read_text()
    before, _, rest = text.partition("<!-- limits -->\n")
    expected = f"{before}<!-- limits -->\n{table()}<!-- /limits -->{rest.partition('<!-- /limits -->')[2]}"
    if regenerate:
        PAGE.write_text(expected)
    assert PAGE.read_text() == expected, "pytest --regenerate tests/plan/test_limits_page.py"
