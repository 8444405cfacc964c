"""Memory that grows and doesn't shrink, and which application keeps it.

Watching allocations all the time would make everything two to four times slower. So only the resident memory is
looked at, once a second. Once it has grown by 64 MB since the last word, Python's own allocations are traced
(tracemalloc) for five seconds: what was allocated then and is still there is summed up by the innermost line of the
project that asked for it, and the line's file names the application.

Limits: what grew before the sample is only taken to be of the same kind; memory of C libraries that doesn't go
through Python's allocator can't be told, and then the requests that were served meanwhile are named instead; a cache
that fills up looks the same as a leak, so it is told as growth; a module that several applications import counts as
the first one's.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING

from tierline.engines.python.blame import Blame
from tierline.engines.python.flying import Flying

if TYPE_CHECKING:
    from tierline.engines.python.voice import Voice

GROWN = 64 << 20
"""Bytes between two words about it."""
_SETTLED = 5.0
"""Seconds after which what was imported and opened at the start is there."""
_SAMPLE = 5.0
_FRAMES = 8
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Resident memory of this process in bytes (proc(5), statm)."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  once a second
        return int(file.read().split()[1]) * _PAGE


class Growth:
    """Looked at once a second, from a thread."""

    def __init__(self, blame: Blame, flying: Flying) -> None:
        self._blame = blame
        self._flying = flying
        self._began = time.monotonic()
        self._base = 0
        self._base_at = 0.0
        self._served: Counter[str] = Counter()
        self._sampling = 0.0
        self._at_start = 0

    def look(self, voice: Voice) -> None:
        now, rss = time.monotonic(), resident()
        if self._sampling:
            # Early, when so much was traced that the tables themselves become large.
            if now - self._sampling >= _SAMPLE or tracemalloc.get_traced_memory()[0] > GROWN:
                self._tell(voice, now, rss)
            return
        if not self._base:
            if now - self._began >= _SETTLED:
                self._rebase(now, rss)
        elif rss - self._base >= GROWN:
            self._sampling, self._at_start = now, rss
            tracemalloc.start(_FRAMES)
        elif rss < self._base:
            self._rebase(now, rss)

    def _rebase(self, now: float, rss: int) -> None:
        self._base, self._base_at = rss, now
        self._served = Counter(self._flying.served)

    def _tell(self, voice: Voice, now: float, rss: int) -> None:
        kept = self._kept()
        tracemalloc.stop()
        self._sampling = 0.0
        grown = rss - self._base
        if grown < GROWN:  # it was given back meanwhile
            self._rebase(now, rss)
            return
        whole = f"{grown >> 20} MB in {now - self._base_at:.0f} s, {rss >> 20} MB now"
        sampled = sum(kept.values())
        (where, most), *_ = kept.most_common(1) or [("", 0)]
        app = self._blame.owner(where.rpartition(":")[0]) if where else ""
        if app and most >= sampled / 2 and most >= max(1 << 20, (rss - self._at_start) / 2):
            share = f"{most * 100 // sampled} % of what was kept in a sample"
            short = self._blame.short(where)
            voice.say(told="grows", app=app, text=f"makes the memory grow: {whole}; {share} is from {short}")
        else:
            served = Counter(self._flying.served) - self._served
            total = sum(served.values()) or 1
            names = ", ".join(f"{name} {n * 100 // total} %" for name, n in served.most_common(3))
            text = f"the memory grows: {whole}; no line of Python keeps most of it. Requests meanwhile: {names or 'none'}"
            voice.say(told="grows", app="", text=text)
        self._rebase(now, rss)

    def _kept(self) -> Counter[str]:
        """Bytes by `file:line`, "" for what no line of the project asked for."""
        found: Counter[str] = Counter()
        for trace in tracemalloc.take_snapshot().traces:
            where = ""
            for frame in reversed(trace.traceback):  # the innermost is the last
                if self._blame.own(frame.filename):
                    where = f"{frame.filename}:{frame.lineno}"
                    break
            found[where] += trace.size
        unknown = found.pop("", 0)
        if unknown:
            found["?"] = unknown
        return found
