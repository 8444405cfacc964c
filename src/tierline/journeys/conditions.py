"""`when=`: parts that run only if a condition holds, and with them what nobody else needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tierline.journeys.binding import called
from tierline.journeys.inputs import Parameter, parameters
from tierline.journeys.journey import Journey, Part, place_of

if TYPE_CHECKING:
    from tierline.journeys.schedule import Shape

Holds = Callable[[list[Any]], Any]

_MOST = 16
"""Combinations of conditions that one part may hang on; with more it is run anyway."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a part's `when=` asks for, and what it is called in messages."""

    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    said: str


def condition(journey: Journey, part: Part) -> Condition:
    """A part's `when=` with its names read. Raises StackError for what can't be one."""
    when, what = part.policy.when, f"part {part.name!r}, when"
    if isinstance(when, str):
        if not when.isidentifier():
            raise journey.wrong(
                part.place, f"{what}: {when!r} is no name; give a name or a function of names"
            )
        return Condition(bool, (Parameter(when, Any, inspect.Parameter.empty, False),), when)
    if not callable(when) or inspect.iscoroutinefunction(when) or inspect.isgeneratorfunction(when):
        raise journey.wrong(part.place, f"{what}: {when!r} is neither a name nor a plain function of names")
    found = tuple(parameters(journey, what, when, part.place))
    if not found:
        raise journey.wrong(part.place, f"{what}: its function reads nothing, so it would always be the same")
    name = getattr(when, "__name__", "")
    names = ", ".join(parameter.name for parameter in found)
    shown = f"a function of {names}" if not name.isidentifier() else f"{name}({names})"
    return Condition(when, found, f"{shown} holds, {place_of(when)}")


def gates(
    shape: Shape, members: set[str], wanted: Iterable[str], denied: frozenset[str]
) -> dict[str, frozenset[frozenset[str]]]:
    """By part that doesn't always run: the sets of conditional parts whose conditions make it run, any one of them.

    A conditional part is in its own; a part that only conditional parts need is run with one of them.
    """
    if not any(name in shape.conditions for name in members):
        return {}
    always = frozenset([frozenset[str]()])
    asked = set(wanted)
    base: dict[str, frozenset[frozenset[str]]] = {}
    full: dict[str, frozenset[frozenset[str]]] = {}
    there = [name for name in shape.order if name in members and name not in denied]
    for name in reversed(there):
        ways = set(always) if name in asked else set()
        for other in full:
            if any(p.name == name for p in shape.functions[other].parameters):
                ways |= full[other]
            if other in shape.conditions and any(p.name == name for p in shape.conditions[other].parameters):
                ways |= base[other]
        base[name] = _least(ways)
        full[name] = base[name]
        if name in shape.conditions:
            full[name] = _least({way | {name} for way in base[name]})
    found = {}
    for name in there:
        # A condition that is worked out of this part can't be waited for by it.
        ways = {frozenset(each for each in way if name not in shape.asked(each)) for way in full[name]}
        least = _least(ways)
        if least != always and not shape.journey.parts[name].batch:
            found[name] = least
    return found


def _least(ways: set[frozenset[str]]) -> frozenset[frozenset[str]]:
    """Without those that hold only when a smaller one does."""
    if len(ways) > _MOST:
        return frozenset([frozenset[str]()])
    return frozenset(way for way in ways if not any(other < way for other in ways))


def gate(shape: Shape, ways: frozenset[frozenset[str]], slots: dict[str, int]) -> Holds:
    """Whether a part has to run, by the slots of its plan."""
    bound = {
        name: called(shape.conditions[name].parameters, slots, shape.conditions[name].function)
        for way in ways
        for name in way
    }
    # What comes first in the schedule is asked first: the others may read what it has decided.
    rows = [tuple(bound[name] for name in shape.order if name in way) for way in ways]

    def holds(values: list[Any]) -> bool:
        return any(all(each(values) for each in row) for row in rows)

    return holds
