"""What one process has counted of parts and their cache: at `/-/metrics`, and in the line's own metrics, added up over all
processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierline.journeys.engine import Engine

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
_PART = "tierline_journeys_part_{}_total"
_LOOKUPS = "tierline_journeys_cache_lookups_total"
_ABOUT = {
    _PART.format("failures"): "Parts that failed, those that something stood in for too.",
    _PART.format("fallbacks"): "Failed parts whose fallback stood in.",
    _PART.format("stale"): "Failed parts that an old copy stood in for (stale_if_error).",
    _PART.format("revalidated"): "Old copies that were used while a new one was made (stale).",
    _PART.format("mismatches"): "Values that differed from their annotation, of those compared.",
    _LOOKUPS: "Look-ups of parts in their cache.",
}


def counts(engine: Engine) -> dict[str, int]:
    """All counters of one application, by Prometheus' series."""
    found: dict[str, int] = {}
    kinds: dict[str, Mapping[tuple[str, str], int]] = {
        "failures": engine.failures,
        "fallbacks": engine.fallbacks,
        "stale": engine.stale,
        "revalidated": engine.revalidated,
        "mismatches": engine.checks.counts,
    }
    for kind, counted in kinds.items():
        for (journey, part), number in counted.items():
            found[f'{_PART.format(kind)}{{journey="{_escaped(journey)}",part="{_escaped(part)}"}}'] = number
    if (cached := engine.cached) is not None:
        for verdict, number in (("hit", cached.hits), ("stale", cached.stale), ("miss", cached.misses)):
            found[f'{_LOOKUPS}{{verdict="{verdict}"}}'] = number
    return found


def metrics(engine: Engine) -> bytes:
    """`/-/metrics`, in Prometheus' text format."""
    found = counts(engine)
    lines: list[str] = []
    for name, about in _ABOUT.items():
        if name != _LOOKUPS or engine.cached is not None:
            lines += [f"# HELP {name} {about}", f"# TYPE {name} counter"]
            lines += [f"{series} {n}" for series, n in found.items() if series.startswith(name + "{")]
    return "".join(f"{line}\n" for line in lines).encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
