"""What users notice while something happens to the line: a steady load before, during and after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from tierline.compare.load import Load, Sample

_WINDOW = 0.25
"""Recovery is told to this many seconds."""
_MARKS = 48
"""How finely the whole time is drawn."""
_EARLY = 0.05
"""What was due so shortly before the event was still on its way."""


class Phase(msgspec.Struct):
    """The requests of one phase; times in ms."""

    requests: int
    failed: int
    slow: int
    median: float
    p99: float


class Noticed(msgspec.Struct):
    """The answer to: what did users notice?"""

    phases: dict[str, Phase]
    """`before`, `while`, and `after` it was healed."""
    recovered: float | None
    """Seconds from the event until no quarter of a second had a failure or several slow requests; None: not by the
    end."""
    limit: float
    """A request is slow from here on, in ms: twice the p95 before, and no less than 50."""
    statuses: dict[int, int]
    marks: str
    """The whole time: `·` well, `~` slow, `×` failed, `|` the event and the healing."""
    away: float
    """Seconds from the event to the healing."""

    @property
    def failed(self) -> int:
        return sum(phase.failed for phase in self.phases.values())

    @property
    def slow(self) -> int:
        return sum(phase.slow for name, phase in self.phases.items() if name != "before")


def noticed(load: Load, at: float, healed: float | None = None) -> Noticed:
    """What the samples of an open loop say about an event at `at` seconds that was healed at `healed`."""
    end = load.seconds if healed is None else healed
    parts = {
        "before": [each for each in load.samples if each.due < at - _EARLY],
        "while": [each for each in load.samples if at - _EARLY <= each.due < end],
        "after": [each for each in load.samples if each.due >= end],
    }
    limit = max(2 * percentile(parts["before"], 0.95), 0.05)
    phases = {
        name: Phase(
            len(samples), sum(map(_failed, samples)), sum(_slow(each, limit) for each in samples),
            percentile(samples, 0.5) * 1000, percentile(samples, 0.99) * 1000,
        )
        for name, samples in parts.items() if samples or name != "after"
    }  # fmt: skip
    return Noticed(
        phases=phases,
        recovered=_recovered(load, at, limit),
        limit=limit * 1000,
        statuses=dict(sorted(Counter(each.status for each in load.samples).items())),
        marks=_marks(load, at, healed, limit),
        away=end - at,
    )


def _recovered(load: Load, at: float, limit: float) -> float | None:
    windows: dict[int, list[Sample]] = {}
    for each in load.samples:
        if each.due >= at - _EARLY:
            windows.setdefault(max(0, int((each.due - at) / _WINDOW)), []).append(each)
    bad = [number for number, samples in windows.items() if _state(samples, limit) != "·"]
    if not bad:
        return 0.0
    return None if max(bad) >= max(windows) else (max(bad) + 1) * _WINDOW


def _marks(load: Load, at: float, healed: float | None, limit: float) -> str:
    wide = load.seconds / _MARKS
    columns: list[list[Sample]] = [[] for _ in range(_MARKS)]
    for each in load.samples:
        columns[min(_MARKS - 1, int(each.due / wide))].append(each)
    drawn = [_state(samples, limit) for samples in columns]
    for moment in sorted({at, at if healed is None else healed}, reverse=True):
        drawn.insert(min(_MARKS, round(moment / wide)), "|")
    return "".join(drawn)


def _state(samples: Sequence[Sample], limit: float) -> str:
    """One slow request among many happens at any time."""
    if any(map(_failed, samples)):
        return "×"
    slow = sum(_slow(each, limit) for each in samples)
    return "~" if slow >= 2 or (slow and len(samples) < 4) else "·"


def percentile(samples: Sequence[Sample], share: float) -> float:
    times = sorted(each.latency for each in samples)
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def text(found: Noticed, event: str, saved: Sequence[str] = ()) -> str:
    """For a terminal."""
    statuses = ", ".join(f"{number} × {status or 'no answer'}" for status, number in found.statuses.items())
    slow = f"slow {found.slow} (more than {found.limit:.0f} ms)"
    rows = [
        f"  {name:<10}{phase.requests:>9}{phase.failed:>9}{phase.slow:>7}{phase.median:>10.1f}{phase.p99:>10.1f}"
        for name, phase in found.phases.items()
    ]
    return "\n".join(
        [
            event,
            f"  {found.marks}",
            f"  {sum(found.statuses.values())} requests: {statuses}",
            f"  failed {found.failed}, {slow}; {_recovery(found)}",
            f"  {'':<10}{'requests':>9}{'failed':>9}{'slow':>7}{'median ms':>10}{'p99 ms':>10}",
            *rows,
            *(["  who saved the day"] if saved else []),
            *(f"    {line}" for line in saved),
        ]
    )


def _recovery(found: Noticed) -> str:
    if found.recovered is None:
        return "not back to normal by the end"
    if found.recovered == 0:
        return "hardly anybody noticed" if found.slow else "nobody noticed"
    # What ends in the window of the healing was ended by it.
    if found.recovered <= found.away - _WINDOW:
        return f"back to normal after {found.recovered:.2f} s, without being healed"
    return f"back to normal {max(0.0, found.recovered - found.away):.2f} s after it was healed, not before"


def _failed(each: Sample) -> bool:
    return each.status == 0 or each.status >= 500


def _slow(each: Sample, limit: float) -> bool:
    return each.latency > limit and not _failed(each)
