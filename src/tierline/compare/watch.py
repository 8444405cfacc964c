"""What users notice while something happens to the line: a steady load before, during and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from tierline.compare.load import Load, Sample

_WINDOW = 0.25
"""Recovery is told to this many seconds."""


class Noticed(msgspec.Struct):
    """The answer to: what did users notice?"""

    requests: int
    failed: int
    slow: int
    """Requests after the event that took longer than three times the p99 before, and 50 ms."""
    recovered_after: float | None
    """Seconds from the event until no request of a quarter second failed or was slow; None: not by the end."""
    before_ms: tuple[float, float]
    """Median and p99 before the event."""
    after_ms: tuple[float, float]
    statuses: dict[int, int]


def noticed(load: Load, at: float) -> Noticed:
    """What the samples of an open loop say about an event at `at` seconds."""
    before = [each for each in load.samples if each.due < at - 0.05]
    after = [each for each in load.samples if each.due >= at - 0.05]
    limit = max(3 * percentile(before, 0.99), 0.05)
    bad = [each for each in after if _failed(each) or each.latency > limit]
    recovered: float | None = 0.0
    if bad:
        last = max(each.due for each in bad) + _WINDOW
        recovered = last - at if after and after[-1].due > last else None
    return Noticed(
        requests=len(load.samples),
        failed=sum(_failed(each) for each in load.samples),
        slow=sum(each.latency > limit and not _failed(each) for each in after),
        recovered_after=None if recovered is None else max(0.0, recovered),
        before_ms=(percentile(before, 0.5) * 1000, percentile(before, 0.99) * 1000),
        after_ms=(percentile(after, 0.5) * 1000, percentile(after, 0.99) * 1000),
        statuses=dict(sorted(Counter(each.status for each in load.samples).items())),
    )


def percentile(samples: Sequence[Sample], share: float) -> float:
    times = sorted(each.latency for each in samples)
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def saved(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[str]:
    """Which tiers' counts say that they answered or retried for somebody else: stale answers, hits, 5xx that
    went no further. Both are telemetry's counts, before and after."""
    was = {_key(row): row["requests"] for row in before}
    more = {_key(row): row["requests"] - was.get(_key(row), 0) for row in after}
    failed: Counter[str] = Counter()
    stale: Counter[str] = Counter()
    for (tier, _, _, status, verdict), number in more.items():
        if status >= 500 or verdict in ("upstream failed", "nobody behind"):
            failed[tier] += number
        if verdict == "stale":
            stale[tier] += number
    told = [f"{tier} answered {number} from a stale copy" for tier, number in stale.items() if number]
    told += [f"{tier} saw {number} failures" for tier, number in failed.items() if number]
    return told


def text(found: Noticed, event: str) -> str:
    """For a terminal."""
    recovered = (
        "not by the end" if found.recovered_after is None
        else "nothing to recover from" if found.recovered_after == 0
        else f"after {found.recovered_after:.2f} s"
    )  # fmt: skip
    statuses = ", ".join(f"{number} × {status or 'no answer'}" for status, number in found.statuses.items())
    return (
        f"{event}\n  {found.requests} requests: {statuses}\n  failed {found.failed}, slow {found.slow}, back to normal: "
        f"{recovered}\n  median {found.before_ms[0]:.1f} ms before, {found.after_ms[0]:.1f} ms after; "
        f"p99 {found.before_ms[1]:.1f} ms before, {found.after_ms[1]:.1f} ms after"
    )


def _failed(each: Sample) -> bool:
    return each.status == 0 or each.status >= 500


def _key(row: dict[str, Any]) -> tuple[str, str, str, int, str]:
    return (row["tier"], row["system"], row["zone"], row["status"], row["verdict"])
