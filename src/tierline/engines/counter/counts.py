"""What is counted: buckets that fill evenly (rates), and windows that begin with the first request (quotas).

A request to the counter is a line per key, fields separated by tabs:

    name  kind  requests  per (s)  most  key  spent  age (ms)  want

`spent` were let in on the gateway's own word, the last of them `age` ago: they are taken whatever is left, and a bucket
may owe as many as it holds. Then all lines that want some get it, or none does: of a bucket one, of a window up to `want`,
which are the gateway's to give until the window ends, and lost with it. Limits come with every line, so the
counter needs no configuration, and a changed limit applies with the next request.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

_MOST = 200_000
"""Buckets and windows at once, each; the longest unused is forgotten."""
_LONGEST = 1024
"""Bytes of a key. Of a longer one its digest is kept: it is still counted, apart from all others, and the rest of a report
with it."""

Keep = Callable[[bytes, float, int], None]
"""Told of a window's key, its end (seconds since the epoch) and what was used."""


class Counts:
    """The counts of a line. kept: windows from before, by key: (end, used)."""

    def __init__(self, kept: dict[bytes, tuple[float, int]], keep: Keep) -> None:
        self._buckets: OrderedDict[bytes, list[float]] = OrderedDict()
        self._windows: OrderedDict[bytes, list[float]] = OrderedDict(
            (key, [end, float(used)]) for key, (end, used) in kept.items()
        )
        self._keep = keep

    def take(self, lines: Iterable[bytes]) -> bytes:
        """`+` or `-` for those that want some, then a line for each: what is left, the milliseconds until a window
        ends (of a bucket: 0), and how many were taken. Raises ValueError for what is no line."""
        found = [self._found(line.split(b"\t")) for line in lines]
        granted = all(each.left >= 1 for each in found if each.want)
        taken = [each.settle(granted) for each in found]
        answers = b"".join(
            b"%.3f %d %d\n" % (each.left, each.ends, n) for each, n in zip(found, taken, strict=True)
        )
        return (b"+" if granted else b"-") + answers

    def _found(self, fields: list[bytes]) -> _Bucket | _Window:
        name, kind, requests, per, most, who, spent, age, want = fields
        key = name + b"\t" + who
        if len(key) > _LONGEST:
            key = key[:64] + hashlib.sha256(key).digest()
        if kind == b"window":
            return _Window(self._window(key, float(per)), key, int(most), int(spent), int(want), self._keep)
        state = self._buckets.get(key)
        now = time.monotonic()
        if state is None:
            state = self._buckets[key] = [float(most), now - 3600.0]
            if len(self._buckets) > _MOST:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        rate = float(requests) / float(per)
        return _Bucket(state, rate, float(most), float(spent), now - int(age) / 1000, now, int(want))

    def _window(self, key: bytes, per: float) -> list[float]:
        now, state = time.time(), self._windows.get(key)
        # A window that ends later than one that begins now would: the plan's interval is shorter than it was.
        if state is None or not now < state[0] <= now + per:
            state = self._windows[key] = [now + per, 0.0]
            if len(self._windows) > _MOST:
                self._windows.popitem(last=False)
        self._windows.move_to_end(key)
        return state


class _Bucket:
    ends = 0

    def __init__(
        self, state: list[float], rate: float, most: float, spent: float, at: float, now: float, want: int
    ) -> None:
        self.want, self._state = want, state
        tokens, since = state
        if spent:
            # It filled up again since, as far as nobody else has taken from it.
            if at > since:
                tokens, since = min(most, tokens + (at - since) * rate), at
            tokens = max(-most, tokens - spent)
        self.left = min(most, tokens + max(0.0, now - since) * rate)
        state[:] = self.left, now

    def settle(self, granted: bool) -> int:
        if not (self.want and granted):
            return 0
        self.left -= 1
        self._state[0] = self.left
        return 1


class _Window:
    def __init__(self, state: list[float], key: bytes, most: int, spent: int, want: int, keep: Keep) -> None:
        self.want, self._state, self._key, self._most, self._keep = want, state, key, most, keep
        self._changed = bool(spent)
        state[1] += spent

    @property
    def left(self) -> float:
        return self._most - self._state[1]

    @property
    def ends(self) -> int:
        return max(1, int((self._state[0] - time.time()) * 1000))

    def settle(self, granted: bool) -> int:
        taken = max(0, min(self.want, int(self.left))) if granted else 0
        self._state[1] += taken
        if self._changed or taken:
            self._keep(self._key, self._state[0], int(self._state[1]))
        return taken
