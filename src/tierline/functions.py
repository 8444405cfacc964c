"""What a function's handler may import to speak of its messages. It never has to: an event is a plain dict.

    from tierline.functions import Discard, Event, Retry

    async def packed(event: Event) -> None:
        if event["attempt"] > 3:
            raise Discard("the order was cancelled long ago")

With `Function(batch=…)` above 1 the handler gets a list of events; it returns those that failed, or nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypedDict


class Event(TypedDict):
    """One message, as a handler gets it."""

    id: str
    """The same in every attempt; of one message of one queue, topic or stream."""
    data: Any
    """The body: read as JSON where it is JSON, else text."""
    headers: dict[str, str]
    subject: str
    key: str | None
    """What comes after the source's name in the subject: a stream's key."""
    attempt: int
    """1 for the first."""
    enqueued_at: datetime
    """When the source took it, in UTC."""


class Discard(Exception):
    """Raised by a handler: the message is done with, though nothing was done. It isn't delivered again, nor set aside."""


class Retry(Exception):
    """Raised by a handler: deliver it again, after so many seconds. It counts as an attempt."""

    def __init__(self, why: str = "", *, after: float) -> None:
        super().__init__(why)
        self.after = after


def event(data: Any = None, **fields: Any) -> Event:
    """An event for tests: `handle(event({"order": 7}, attempt=2))`.

    Raises TypeError for a field that events don't have.
    """
    made: Event = {
        "id": "test-1",
        "data": data,
        "headers": {},
        "subject": "test",
        "key": None,
        "attempt": 1,
        "enqueued_at": datetime.now(UTC),
    }
    if unknown := set(fields) - set(made):
        raise TypeError(f"an event has no {', '.join(sorted(unknown))}; it has {', '.join(made)}")
    made.update(fields)  # type: ignore[typeddict-item]
    return made


__all__ = ["Discard", "Event", "Retry", "event"]
