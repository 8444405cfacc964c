"""What a journey consists of, as it was written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tierline.errors import StackError
from tierline.journeys.policy import Policy

LAST = "last_event_id"
"""The parameter that tells a live part where its client has stopped."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
BUILTINS = ("session", "client", "locale", "identity", "request", "affiliate", "steps", "body", "version")
"""Names that the engine itself fills."""
RESERVED = {
    **dict.fromkeys(BUILTINS, "something that the engine itself provides"),
    "degraded": "the list of parts that failed",
    "fields": "the query value that selects fields",
    "stream": "the query value that asks for a stream",
}
"""Names that no part, path value or query value can have, and why."""


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
    live: bool = False
    """An async generator, whose values are sent for as long as the client listens."""
    heartbeat: float = 15.0
    """Seconds of silence after which a live part's stream has a comment."""
    resumes: bool = False
    """It asks for the id of the last event that its client had."""


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
    of: str = ""
    """The deferred part that it is the piece of a page for."""


@dataclass(frozen=True, slots=True)
class Step:
    """This journey's place in a funnel."""

    funnel: str
    index: int
    after: str
    required: bool = False
    back: str = ""
    """The path of the journey that has to come first."""


def kind_of(client: Any) -> str:
    """`Mobile`, `Mobile()` and `"mobile"` are the same kind of client."""
    kind = client if isinstance(client, str) else getattr(client, "kind", None)
    if not isinstance(kind, str) and isinstance(client, type):
        kind = client.__name__.lower()
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", kind):
        raise StackError(f"{client!r} is not a kind of client; give Web, Mobile, Affiliate or their name")
    return kind
