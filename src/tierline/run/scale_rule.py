"""When instances are added or removed: target tracking with a cool-down, as pure arithmetic.

Out: when an instance carries a tenth more than its target, as many as bring it back, at once.
In: one at a time, and only when one less would have been enough for the whole cool-down, with room to spare.
Between the two nothing happens: a load that sways around its target changes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

OVER = 1.1
"""Beyond this share of the target instances are added, when it is seen twice in a row."""
FAR_OVER = 1.5
"""Beyond this one they are added at once."""
ROOM = 0.85
"""Removing one must leave the others at or below this share of the target."""
CALM = 0.5
"""A latency isn't shared out among instances: one is removed only below this share of the target."""

TARGETS = ("rps", "cpu", "latency", "queue")


class Decision(msgspec.Struct, frozen=True):
    """Another number of instances of one name in one zone, and why."""

    instances: int
    why: str


class Rule:
    """One name in one zone, and what it has seen. settings: a Scale as data. Times in seconds of any clock."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.targets = {kind: float(settings[kind]) for kind in TARGETS if settings.get(kind)}
        self.cooldown_in = float(settings.get("cooldown_in") or settings["cooldown"])
        self.cooldown_out = float(settings.get("cooldown_out") or settings["cooldown"] / 6)
        self._enough: deque[tuple[float, int]] = deque()
        """How many would have been enough, by time."""
        self._over = False
        """Whether the last look saw too much."""
        self._added = -math.inf
        self._changed = -math.inf

    def decide(self, now: float, instances: int, loads: Mapping[str, float]) -> Decision | None:
        """What to do with so many instances. loads: of all of them together, except for latency."""
        most = int(self.settings["max"])
        needed, why = instances, ""
        enough, share = 1, 0.0
        for kind, target in self.targets.items():
            if kind not in loads:
                enough = instances  # it can't be known: nothing is removed
                continue
            out, less = _needed(kind, loads[kind], target, instances)
            if out > needed or not why:
                why = said(kind, loads[kind], target, instances)
            needed, enough = max(needed, out), max(enough, less)
            share = max(share, loads[kind] / target / (1 if kind == "latency" else instances))
        self._enough.append((now, enough))
        while len(self._enough) > 1 and self._enough[1][0] <= now - self.cooldown_in:
            self._enough.popleft()
        before, self._over = self._over, needed > instances
        if needed > instances:
            if share < FAR_OVER and not before:
                return None
            if now - self._added < self.cooldown_out or instances >= most:
                return None
            self._added = self._changed = now
            self._enough.clear()
            if needed > most:
                why += f"; max={most} allows no more"
            return Decision(min(needed, most), why)
        return self._less(now, instances, why)

    def _less(self, now: float, instances: int, why: str) -> Decision | None:
        least = max(1, int(self.settings["min"]))
        seen = now - self._enough[0][0] if self._enough else 0.0
        if instances <= least or not self.targets or seen < self.cooldown_in:
            return None
        if now - self._changed < self.cooldown_in or max(enough for _, enough in self._enough) >= instances:
            return None
        self._changed = now
        return Decision(instances - 1, f"{why} for {self.cooldown_in:g} s")

    def rest(self, now: float) -> None:
        """The number was changed by somebody else: begin anew."""
        self._changed = now
        self._enough.clear()


def _needed(kind: str, load: float, target: float, instances: int) -> tuple[int, int]:
    """(how many are needed now, how many would be enough)."""
    if kind == "latency":
        share = load / target
        more = min(math.ceil(instances * share), instances * 2) if share > OVER else instances
        return more, instances - 1 if share < CALM else instances
    more = math.ceil(round(load / target, 6)) if load > target * OVER * instances else instances
    return max(more, instances), max(1, math.ceil(round(load / (target * ROOM), 6)))


def said(kind: str, load: float, target: float, instances: int) -> str:
    """A load in words, beside its target."""
    each = f"{target:g} per instance"
    over = load > target * (1 if kind == "latency" else instances)
    against = "over" if over else "under"
    match kind:
        case "rps":
            return f"{load:.0f} requests/s {against} {each}"
        case "cpu":
            return f"{load:.0%} of a core {against} {target:.0%} per instance"
        case "latency":
            return f"{load * 1000:.0f} ms {against} {target * 1000:g} ms"
        case _:
            return f"{load:.0f} messages waiting, {against} {each}"
