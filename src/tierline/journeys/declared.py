"""What a journey consists of, as it was written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tierline.journeys.policy import Policy


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def place_of(function: Callable[..., Any]) -> Place:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return Place(code.co_filename, code.co_firstlineno) if code else Place("<unknown>", 0)


@dataclass(frozen=True, slots=True)
class Part:
    """One feature call of a journey. `batch` is set for a look-up that turns many calls into one.

    kind: a "guard" runs before all else and may refuse; an "effect" changes something, after all reads.
    """

    name: str
    function: Callable[..., Any]
    policy: Policy
    place: Place
    batch: int = 0
    kind: Literal["part", "guard", "effect"] = "part"
    entities: Any = None
    """The Entities that a look-up is of, where all journeys share them."""


@dataclass(frozen=True, slots=True)
class View:
    """How the parts look to one kind of client."""

    kind: str
    name: str
    function: Callable[..., Any]
    media: str
    since: tuple[int, ...]
    stream: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Step:
    """This journey's place in a funnel."""

    funnel: str
    index: int
    after: str
    required: bool = False
    back: str = ""
    """The path of the journey that has to come first."""
