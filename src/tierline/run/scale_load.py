"""What instances carry: from what their processes tell, and from /proc.

A Python process tells twice a second how much each of its applications has done. A command's requests are
counted by those who call it (scale_carried.py).
"""

from __future__ import annotations

import bisect
import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.engines.python.meter import middle

if TYPE_CHECKING:
    from tierline.run.child import Child

KEPT = 12.0
"""Seconds of history."""
_TICKS = os.sysconf("SC_CLK_TCK")
_STARTING = 3.0
"""A process that is younger has spent its time on starting: that says nothing about its load."""
_SILENT = 2.5


class Load(msgspec.Struct, frozen=True):
    """One instance over a while. None: not known."""

    rps: float | None = None
    latency: float | None = None
    """Mean, seconds. None without requests."""
    p50: float | None = None
    cpu: float | None = None
    """Share of a core, of its whole process."""


class _Counted(msgspec.Struct):
    at: float
    requests: int
    us: int
    buckets: dict[int, int]


class Loads:
    """The processes of a line, by name."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str], deque[_Counted]] = {}
        self._pids: dict[tuple[str, str], int] = {}
        self._used: dict[str, deque[tuple[float, int, float]]] = {}

    def heard(self, child: Child, message: dict[str, Any]) -> None:
        """A process has told something."""
        if "load" not in message or message["pid"] != child.pid:
            return
        for app, told in message["load"].items():
            key = (child.process.name, app)
            kept = self._counted.setdefault(key, deque())
            if self._pids.get(key) != message["pid"]:  # it has a successor, which counts from nothing
                self._pids[key] = message["pid"]
                kept.clear()
            buckets = {int(number): many for number, many in told["h"].items()}
            kept.append(_Counted(message["at"], sum(buckets.values()), told["us"], buckets))
            while kept[-1].at - kept[0].at > KEPT:
                kept.popleft()

    def carried(self, child: Child, app: str, requests: int, us: int, at: float) -> None:
        """A command has answered so many requests by now, in so many microseconds together."""
        key = (child.process.name, app)
        kept = self._counted.setdefault(key, deque())
        if self._pids.get(key) != child.pid:
            self._pids[key] = child.pid
            kept.clear()
        kept.append(_Counted(at, requests, us, {}))
        while kept[-1].at - kept[0].at > KEPT:
            kept.popleft()

    def look(self, child: Child) -> None:
        """Remember how much of the processor a process has used by now."""
        kept = self._used.setdefault(child.process.name, deque())
        pid = child.pid if child.phase == "ready" else 0
        if kept and kept[-1][1] != pid:
            kept.clear()
        if pid and time.time() - child.began > _STARTING:
            kept.append((time.monotonic(), pid, _spent(pid)))
            while kept[-1][0] - kept[0][0] > KEPT:
                kept.popleft()

    def forget(self, names: set[str]) -> None:
        """Keep only processes of these names."""
        for key in [key for key in self._counted if key[0] not in names]:
            del self._counted[key]
        for name in [name for name in self._used if name not in names]:
            del self._used[name]

    def of(self, process: str, app: str, within: float) -> Load:
        """One instance in the last seconds."""
        cpu = None
        used = self._used.get(process, ())
        if len(used) > 1:
            used_list = list(used)
            first = used_list[_begin([at for at, _, _ in used_list], within)]
            last = used_list[-1]
            cpu = (last[2] - first[2]) / (last[0] - first[0])
        counted = list(self._counted.get((process, app), ()))
        if len(counted) < 2 or time.monotonic() - counted[-1].at > _SILENT:
            return Load(cpu=cpu)
        before = counted[_begin([each.at for each in counted], within)]
        now = counted[-1]
        many = now.requests - before.requests
        latency = (now.us - before.us) / many / 1e6 if many else None
        return Load(many / (now.at - before.at), latency, _median(before, now), cpu)


def _begin(times: list[float], within: float) -> int:
    """The index of the last time that is at least so long before the newest."""
    return min(max(bisect.bisect_right(times, times[-1] - within) - 1, 0), len(times) - 2)


def _median(before: _Counted, now: _Counted) -> float | None:
    many = {number: each - before.buckets.get(number, 0) for number, each in sorted(now.buckets.items())}
    half, seen = sum(many.values()) / 2, 0
    if not half:
        return None
    for number, each in many.items():
        seen += each
        if seen >= half:
            return middle(number)
    return None


def _spent(pid: int) -> float:
    """Seconds of processor time that a process and its descendants have used (proc(5))."""
    total, left = 0.0, [pid]
    while left:
        each = Path("/proc") / str(left.pop())
        try:
            fields = (each / "stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15]) / _TICKS
            left += [int(child) for child in (each / "task" / each.name / "children").read_text().split()]
        except OSError:
            continue
    return total
