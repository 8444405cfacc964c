"""`/-/metrics`: what this process has counted of parts and their cache, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierline.journeys.engine import Engine

MEDIA = "text/plain; version=0.0.4; charset=utf-8"


def metrics(engine: Engine) -> bytes:
    """All counters of one application."""
    lines: list[str] = []
    for name, about, counts in (
        ("failures", "Parts that failed, those that something stood in for too.", engine.failures),
        ("fallbacks", "Failed parts whose fallback stood in.", engine.fallbacks),
        ("stale", "Failed parts that an old copy stood in for (stale_if_error).", engine.stale),
        (
            "mismatches",
            "Values that differed from their annotation, of those compared.",
            engine.checks.counts,
        ),
    ):
        rows = [
            (f'{{journey="{journey}",part="{part}"}}', number) for (journey, part), number in counts.items()
        ]
        lines += _counter(f"tierline_journeys_part_{name}_total", about, rows)
    if (cached := engine.cached) is not None:
        found = {"hit": cached.hits, "stale": cached.stale, "miss": cached.misses}
        rows = [(f'{{verdict="{verdict}"}}', number) for verdict, number in found.items()]
        lines += _counter("tierline_journeys_cache_lookups_total", "Look-ups of parts in their cache.", rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _counter(name: str, about: str, rows: Iterable[tuple[str, int]]) -> list[str]:
    return [
        f"# HELP {name} {about}",
        f"# TYPE {name} counter",
        *(f"{name}{labels} {n}" for labels, n in rows),
    ]
