"""Medians, spread, and whether a difference is more than noise."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from tierline.compare.rounds import Measured, Round


class Line(msgspec.Struct):
    """One line of the comparison: the value of every round, by lineup."""

    what: str
    unit: str
    better: str
    """`lower` or `higher`."""
    values: list[list[float]]
    note: str = ""
    """`once`: measured once; `shared`: one lineup has no process of just this."""

    @property
    def medians(self) -> list[float]:
        return [statistics.median(values) for values in self.values]

    @property
    def differs(self) -> bool:
        """Whether the first two lineups' rounds do not overlap: with few rounds the honest test there is."""
        one, other = self.values[0], self.values[1]
        return len(one) > 1 and (max(one) < min(other) or max(other) < min(one))


def lines(measured: Sequence[Measured]) -> list[Line]:
    """Everything that is compared, in the order of the report."""

    def each(what: str, unit: str, better: str, value: Any) -> Line:
        return Line(what, unit, better, [[value(one) for one in every.rounds] for every in measured])

    found = [
        each("throughput", "requests/s", "higher", lambda one: one.full.rate),
        each("median", "ms", "lower", lambda one: percentile(one, 0.5)),
        each("p90", "ms", "lower", lambda one: percentile(one, 0.9)),
        each("p99", "ms", "lower", lambda one: percentile(one, 0.99)),
        each("errors", "of 1000", "lower", errors),
        each("CDN hits", "%", "higher", hits),
        each("processor time", "µs/request", "lower", lambda one: sum(one.cpu_us.values())),
    ]
    tiers = dict.fromkeys(tier for every in measured for one in every.rounds for tier in one.cpu_us)
    for tier in tiers:
        line = each(f"  {tier}", "µs/request", "lower", lambda one, tier=tier: one.cpu_us.get(tier, 0.0))
        if not all(any(tier in one.cpu_us for one in every.rounds) for every in measured):
            line.note = "shared"
        found.append(line)
    found.append(Line("memory", "MB", "lower", [[sum(every.memory.values())] for every in measured], "once"))
    found.append(Line("start", "s", "lower", [[every.ready_in] for every in measured], "once"))
    return found


def percentile(one: Round, share: float) -> float:
    """Milliseconds of the open loop's requests."""
    times = sorted(sample.latency for sample in one.steady.samples)
    return times[min(len(times) - 1, int(len(times) * share))] * 1000 if times else 0.0


def errors(one: Round) -> float:
    samples = one.steady.samples + one.full.samples
    return 1000 * sum(each.status == 0 or each.status >= 500 for each in samples) / max(1, len(samples))


def hits(one: Round) -> float:
    samples = [each for each in one.steady.samples if each.status]
    return 100 * sum(each.verdict == "hit" for each in samples) / max(1, len(samples))


def text(measured: Sequence[Measured]) -> str:
    """The report for a terminal."""
    names = [every.name for every in measured]
    rows = [f"{'':<26}" + "".join(f"{name:>22}" for name in names)]
    for line in lines(measured):
        cells = "".join(
            f"{_number(median):>11} {_spread(values):>10}"
            for median, values in zip(line.medians, line.values, strict=True)
        )
        rows.append(f"{line.what + ' ' + line.unit:<26}{cells}  {verdict(line, names)}")
    for every in measured:
        if any(one.steady.limited or one.full.limited for one in every.rounds):
            rows.append(
                f"{every.name}: the load generator was itself the limit in some rounds; throughput is at least this"
            )
    for every in measured:
        rows += [f"{every.name}: {loss}" for loss in every.losses]
        rows += [f"{every.name}: {what}: {why}" for what, why in every.lacks.items()]
    rows.append("\nwhat really ran")
    wide = max(len(name) for name in names) + 2
    for every in measured:
        rows += [
            f"  {every.name:<{wide}}{one['engine']:<12}{one['version']:<10}sha256 {one['sha256'][:12]}  {one['path']}"
            for one in every.programs
        ]
    return "\n".join(rows)


def verdict(line: Line, names: Sequence[str]) -> str:
    """Who is better and by how much, or that the difference is within the noise."""
    if len(line.values) != 2:
        return ""
    one, other = line.medians
    if line.note == "shared":
        return "in another process there"
    if one == other:
        return "the same"
    if line.note != "once" and not line.differs:
        return "within the noise"
    wins = (one < other) == (line.better == "lower")
    low, high = sorted((one, other))
    factor = f" {high / low:.2f}×" if low > 0 else ""
    return f"{names[0] if wins else names[1]}{factor}"


def data(measured: Sequence[Measured]) -> dict[str, Any]:
    """The whole comparison as plain data."""
    return {
        "lineups": [
            {"name": every.name, "lineup": every.lineup, "programs": every.programs, "lacks": every.lacks,
             "losses": every.losses, "memory_mb": every.memory, "ready_in_s": every.ready_in}
            for every in measured
        ],
        "lines": [
            {"what": line.what.strip(), "unit": line.unit, "better": line.better, "rounds": line.values,
             "medians": line.medians, "verdict": verdict(line, [every.name for every in measured])}
            for line in lines(measured)
        ],
        "load_generator": "tierline's own: open loop for latency, closed loop for throughput",
        "generator_was_the_limit": [
            any(one.steady.limited or one.full.limited for one in every.rounds) for every in measured
        ],
    }  # fmt: skip


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return ""
    middle = statistics.median(values)
    return f"±{100 * (max(values) - min(values)) / 2 / middle:.0f} %" if middle else ""
