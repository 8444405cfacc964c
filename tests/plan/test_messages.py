"""What the plan says of queues, topics and streams before anything starts."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from tierline import Function, Queue, Service, Stack, Stream, Topic
from tierline.errors import PlanError, StackError
from tierline.lineups import EMBEDDED
from tierline.plan.model import Plan
from tierline.plan.resolve import resolve

WORK, NEWS = Queue("work"), Topic("news")


def planned(*functions: Function, uses: tuple[Any, ...] = ()) -> Plan:
    sender = Service("sender", "sender:app", expose=["/"], uses=uses)
    return resolve(Stack("messages", services=[sender], functions=functions), EMBEDDED)


def test_a_handler_may_take_as_long_as_its_message_is_its_own() -> None:
    Function("f", "m:f", Queue("q", visibility="10s"), timeout="10s")
    with pytest.raises(
        StackError, match=r"timeout='11s' is not allowed: at most visibility=10s of Queue\('q'\)"
    ):
        Function("f", "m:f", Queue("q", visibility="10s"), timeout="11s", batch=5)


def test_two_functions_on_one_queue_are_refused() -> None:
    with pytest.raises(
        PlanError, match=r"Function\('b'\), on=Queue\('work'\): Function\('a'\) handles it already"
    ):
        planned(Function("a", "m:a", WORK), Function("b", "m:b", WORK))
    planned(Function("a", "m:a", NEWS), Function("b", "m:b", NEWS))


@pytest.mark.parametrize(
    "other", [Queue("work-dead"), Topic("work-dead"), Stream("work-dead"), Queue("news-reader-dead")]
)
def test_the_name_of_dead_letters_is_taken(other: Any) -> None:
    with pytest.raises(PlanError, match=r"that is where the dead letters of .* are; give it another name"):
        planned(Function("reader", "m:a", NEWS), uses=(WORK, other))


@pytest.mark.parametrize(
    ("functions", "uses", "told"),
    [
        ((), (NEWS,), ["Topic('news') has no function: what is published"]),
        ((), (WORK,), []),
        ((), (Stream("log"),), []),
        ((Function("f", "m:f", WORK),), (WORK,), []),
        ((Function("f", "m:f", NEWS),), (NEWS,), []),
    ],
)
def test_what_nobody_reads_is_told(
    functions: tuple[Function, ...], uses: tuple[Any, ...], told: list[str]
) -> None:
    found = [note for note in planned(*functions, uses=uses).notes if "has no function" in note]
    assert len(found) == len(told) and all(
        note.startswith(start) for note, start in zip(found, told, strict=True)
    )


def test_the_example_of_the_page_is_planned() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tiers" / "feature.md").read_text()
    lines = text.split("\n\n    ")[1:3]
    found: dict[str, Any] = {}
    code = "\n\n".join(textwrap.dedent("    " + each.split("\n\n")[0]) for each in lines)
    exec(code, found)
    plan = resolve(found["stack"], EMBEDDED)
    assert plan.notes == ()
    assert [role.name for role in plan.roles.values() if role.slot == "feature.function" and role.zone == "a"] == [
        "packer", "mailer", "counter",
    ]  # fmt: skip
