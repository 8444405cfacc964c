"""Live parts: async generators whose values are sent for as long as the client listens."""

from __future__ import annotations

import asyncio
import contextlib
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

from tierline.journeys.attempt import attempt
from tierline.journeys.declared import LAST
from tierline.journeys.fault import JourneyError
from tierline.journeys.frame import Frame, frame

if TYPE_CHECKING:
    from tierline.journeys.journey import Part

T = TypeVar("T")

_FIELD = b"last-event-id"


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """A value of a live part with its id: a client that connects again says the last one that it had."""

    value: T
    id: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id.isprintable() or len(self.id) > 256:
            raise ValueError(f"Event, id: {self.id!r} is not a printable text of at most 256 characters")


class Fleeting(dict[Any, Any]):
    """What a live part's calls share: nothing, since a value from before is what it doesn't want."""

    def __setitem__(self, key: Any, value: Any) -> None:
        return None


class Source:
    """A live part of one request after its first value."""

    __slots__ = ("headers", "id", "values")

    def __init__(
        self, values: AsyncGenerator[Any, None], identifier: str, headers: Mapping[bytes, bytes]
    ) -> None:
        self.values = values
        self.id = identifier
        self.headers = headers

    async def events(self) -> AsyncIterator[Any]:
        """The values that follow."""
        attempt.set(None)
        frame.set(Frame(inf, Fleeting(headers=self.headers, most=inf)))
        async for value in self.values:
            if isinstance(value, Event):
                self.id, value = value.id, value.value
            yield value

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self.values.aclose()


def yielded(returns: Any) -> Any:
    """What `AsyncIterator[T]`, `AsyncIterator[Event[T]]` or `AsyncIterator[Event[T] | None]` has values of."""
    inner = typing.get_args(returns)
    return _of_event(inner[0]) if inner else Any


def _of_event(kind: Any) -> Any:
    if kind is Event:
        return Any
    if typing.get_origin(kind) is Event:
        return typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_of_event, typing.get_args(kind)))]  # noqa: UP007
    return kind


def begins(
    part: Part, given: Callable[[list[Any]], dict[str, Any]], sole: bool
) -> Callable[[list[Any]], Coroutine[Any, Any, Any]]:
    """What a plan calls: the first value. sole: no other part of the plan is live, so ids are as they were given."""
    function, resumes = part.function, part.resumes

    async def first(words: dict[str, Any]) -> Any:
        scope = frame.get()
        shared = scope.shared if scope is not None else {}
        headers = shared.get("headers", {})
        if resumes:
            said = headers.get(_FIELD, b"").decode("utf-8", "replace")[:4096]
            words[LAST] = said if sole else dict(parse_qsl(said)).get(part.name, "")
        values = function(**words)
        try:
            value = await anext(values)
        except StopAsyncIteration:
            raise JourneyError(f"part {part.name!r} ended without a value", status=502) from None
        event = value if isinstance(value, Event) else Event(value)
        sources = shared.get("live")
        if sources is None:
            await values.aclose()
        else:
            sources[part.name] = Source(values, event.id, headers)
        return event.value

    return lambda values: first(given(values))


def identified(sources: Mapping[str, Source], sole: bool) -> bytes:
    """The id of what has been sent so far, for `id:`; b"" without any."""
    known = {name: source.id for name, source in sources.items() if source.id}
    if not known:
        return b""
    return (next(iter(known.values())) if sole else urlencode(known)).encode()


async def stopped(tasks: list[asyncio.Task[None]], sources: Mapping[str, Source]) -> None:
    """Ends what a client that has left listened to."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for source in sources.values():
        await source.close()
