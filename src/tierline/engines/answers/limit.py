"""Response rate limiting: strangers can't use the server to flood others with what they did not ask for."""

from __future__ import annotations

from time import monotonic

from tierline.engines.answers.config import Rate
from tierline.engines.answers.networks import address

_MOST = 8192
PASS, SLIP, DROP = 0, 1, 2


class Bucket:
    """The allowance of one network: /24, or /56 of IPv6."""

    __slots__ = ("_rate", "_refused", "_since", "_tokens")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens = float(rate.burst)
        self._since = monotonic()
        self._refused = 0

    def take(self) -> int:
        """PASS, SLIP (answer truncated) or DROP for one more answer."""
        now = monotonic()
        rate = self._rate
        self._tokens = min(rate.burst, self._tokens + (now - self._since) * rate.per_second)
        self._since = now
        if self._tokens >= 1:
            self._tokens -= 1
            return PASS
        self._refused += 1
        return SLIP if rate.slip and self._refused % rate.slip == 0 else DROP


class Limiter:
    """Buckets by network. A flood of forged networks empties the table; each network starts anew then."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._buckets: dict[tuple[int, int], Bucket] = {}

    def bucket(self, host: str) -> Bucket:
        family, number = address(host)
        key = family, number >> (8 if family == 4 else 72)
        found = self._buckets.get(key)
        if found is None:
            if len(self._buckets) >= _MOST:
                self._buckets.clear()
            found = self._buckets[key] = Bucket(self._rate)
        return found
