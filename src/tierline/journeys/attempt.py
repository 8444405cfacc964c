"""What one attempt at a part has sent: whether trying again could do something twice."""

from __future__ import annotations

from contextvars import ContextVar

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
