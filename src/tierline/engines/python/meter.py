"""What an application of this process does, in numbers that only grow: the supervisor makes rates of them."""

from __future__ import annotations

from typing import Any

BUCKETS = 112
"""Four per doubling, from 1 microsecond to about two minutes."""


class Meter:
    """Requests (or messages) that were answered, and how long each took."""

    __slots__ = ("_buckets", "_us")

    def __init__(self) -> None:
        self._buckets = [0] * BUCKETS
        self._us = 0

    def observe(self, ns: int) -> None:
        """One more, that took this many nanoseconds."""
        us = ns // 1000
        self._us += us
        # `bucket`, without a call: this is on the path of every request.
        shift = us.bit_length() - 3
        number = (shift + 1) * 4 + ((us >> shift) & 3) if shift > 0 else us
        self._buckets[number if number < BUCKETS else BUCKETS - 1] += 1

    def told(self) -> dict[str, Any]:
        """`us`: the sum of all durations. `h`: how many took how long, by bucket."""
        return {"us": self._us, "h": {number: many for number, many in enumerate(self._buckets) if many}}


def bucket(us: int) -> int:
    """The bucket of a duration in microseconds."""
    if us < 4:
        return max(us, 0)
    shift = us.bit_length() - 3
    return min((shift + 1) * 4 + ((us >> shift) & 3), BUCKETS - 1)


def middle(number: int) -> float:
    """The duration in seconds that a bucket stands for."""
    if number < 4:
        return number / 1e6
    shift, quarter = divmod(number - 4, 4)
    return (4 + quarter + 0.5) * float(1 << shift) / 1e6
