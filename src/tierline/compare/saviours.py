"""Which tier saved the day: what each tier's counts say of the time in which something was away.

Counts are telemetry's, of all requests by tier, zone, status and verdict, at the beginning, the event and the healing.
What would have come anyway is known from the time before: a copy that is stale while it is fetched anew isn't a rescue.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

PATH = ("cdn", "lb", "cache", "gateway", "experience", "feature")
"""Front to back, from where one tier sends requests to another; whom clients were sent to is seen by the clients."""
_COPIES = {"hit", "stale", "revalidated", "updating"}

Row = Mapping[str, Any]


class Counts:
    """What was counted in `seconds`, and in the time before for comparison."""

    def __init__(
        self, first: Sequence[Row], begun: Sequence[Row], ended: Sequence[Row], before: float, seconds: float
    ) -> None:
        self._before, self._during = _more(first, begun), _more(begun, ended)
        self._scale = seconds / before if before else 0.0

    def tiers(self) -> list[str]:
        there = {key[0] for key in (*self._before, *self._during)}
        return [tier for tier in PATH if tier in there]

    def zones(self, tier: str) -> dict[str, tuple[float, float]]:
        """Answers that were no failures by zone: how many were to be expected, how many there were."""
        found: dict[str, tuple[float, float]] = {}
        for zone in {key[1] for key in (*self._before, *self._during) if key[0] == tier}:
            was, now = (
                sum(number for key, number in counts.items() if key[:2] == (tier, zone) and not _failed(key))
                for counts in (self._before, self._during)
            )
            found[zone] = (was * self._scale, now)
        return found

    def failed(self, tier: str) -> int:
        """More failures than before."""
        was, now = (
            sum(number for key, number in counts.items() if key[0] == tier and _failed(key))
            for counts in (self._before, self._during)
        )
        return max(0, round(now - was * self._scale))

    def copies(self, tier: str) -> tuple[int, int, int]:
        """All answers, those from copies, and the stale ones beyond what is usual."""
        during = {key: number for key, number in self._during.items() if key[0] == tier}
        usual = self._scale * sum(
            number for key, number in self._before.items() if key[0] == tier and key[3] == "stale"
        )
        stale = sum(number for key, number in during.items() if key[3] == "stale")
        kept = sum(number for key, number in during.items() if key[3] in _COPIES)
        more = stale - usual
        return sum(during.values()), kept, round(more) if more > 3 + 3 * math.sqrt(usual) else 0


def told(counts: Counts) -> list[str]:
    """A line for each tier that answered, or found an answer elsewhere, for what was away."""
    lines = []
    tiers = counts.tiers()
    for front, tier in itertools.pairwise(tiers):
        gone = {zone for zone, (usual, now) in counts.zones(tier).items() if usual >= 5 and now < 0.4 * usual}
        others = [
            zone
            for zone, (usual, now) in counts.zones(tier).items()
            if zone not in gone and now > usual and now >= 5
        ]
        if gone and others:
            lines.append(
                f"{front} sent what {tier} in {_and(gone)} would have got to {tier} in {_and(others)}"
            )
            break  # those behind it get what it sends
    failures = {tier: counts.failed(tier) for tier in tiers}
    for front, tier in itertools.pairwise(tiers):
        kept = failures[tier] - failures[front]
        if kept > max(1, 0.2 * failures[tier]):
            lines.append(
                f"{front} answered {kept} of {failures[tier]} requests that failed at {tier} all the same"
            )
    for tier in ("cdn", "cache"):
        if tier in tiers:
            all_, kept, stale = counts.copies(tier)
            if stale:
                lines.append(f"{tier} answered {stale} more than usual from stale copies")
            if all_ and kept >= 0.05 * all_:
                lines.append(f"{tier} answered {kept / all_:.0%} from its copies, and asked nobody behind it")
    return lines


def _more(was: Sequence[Row], now: Sequence[Row]) -> Counter[tuple[str, str, int, str]]:
    found: Counter[tuple[str, str, int, str]] = Counter()
    for sign, rows in ((1, now), (-1, was)):
        for row in rows:
            found[(row["tier"], row["zone"], row["status"], row["verdict"])] += sign * row["requests"]
    return found


def _failed(key: tuple[str, str, int, str]) -> bool:
    return key[2] >= 500 or key[3] in ("upstream failed", "nobody behind")


def _and(names: set[str] | list[str]) -> str:
    return " and ".join(sorted(names))
