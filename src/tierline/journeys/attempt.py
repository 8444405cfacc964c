"""What one attempt at a part has sent: whether trying again could do something twice."""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from email.utils import parsedate_to_datetime

import msgspec


class Attempt(msgspec.Struct):
    """One run of a part's function.

    number: 0 for the first. key: the idempotency key of an effect; its calls carry one made of it. wrote: a call that
    may not be sent twice has been sent without a key.
    """

    number: int = 0
    key: str = ""
    calls: int = 0
    wrote: bool = False
    rival: Attempt | None = None
    """The other one of two hedged calls."""

    @property
    def has_written(self) -> bool:
        return self.wrote or (self.rival is not None and self.rival.wrote)

    def next_key(self) -> str:
        """The key of the next call: the same for the same call of every attempt, and of a repeated request."""
        self.calls += 1
        return self.key if self.calls == 1 else f"{self.key}.{self.calls}"


attempt: ContextVar[Attempt | None] = ContextVar("tierline_attempt", default=None)


def pause(text: str | None) -> float | None:
    """`Retry-After` in seconds (RFC 9110, section 10.2.3: a number, or a date)."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None
