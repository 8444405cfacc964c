"""Counts of all requests in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TYPE = "text/plain; version=0.0.4; charset=utf-8"


_LOST = "tierline_telemetry_lost_total"


def page(
    counts: Iterable[Mapping[str, Any]],
    callers: Iterable[Mapping[str, Any]],
    own: Mapping[str, int],
    lost: int = 0,
) -> str:
    """Every tier's requests, and the gateway's by route and consumer; what processes count themselves (`own`, by series);
    spans and events that could not be stored."""
    return (
        _family(
            "tierline_requests_total", "Requests by tier; of databases and caches the sampled ones.", counts
        )
        + _family(
            "tierline_gateway_requests_total", "Requests at the gateway by route and consumer.", callers
        )
        + _own(own)
        + f"# HELP {_LOST} Spans and events dropped as they could not be written.\n# TYPE {_LOST} counter\n{_LOST} {lost}\n"
    )


def _own(series: Mapping[str, int]) -> str:
    lines: list[str] = []
    last = ""
    for each, number in sorted(series.items()):
        if (name := each.partition("{")[0]) != last:
            last = name
            lines.append(f"# TYPE {name} counter\n")
        lines.append(f"{each} {number}\n")
    return "".join(lines)


def _family(name: str, about: str, rows: Iterable[Mapping[str, Any]]) -> str:
    lines = [f"# HELP {name} {about}", f"# TYPE {name} counter"]
    for row in rows:
        said = {**row, "status": _status(row["status"])}
        labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in said.items() if key != "requests")
        lines.append(f"{name}{{{labels}}} {row['requests']}")
    return "\n".join(lines) + "\n"


def _status(status: int) -> str:
    """HTTP's status code; ok or error of what isn't HTTP."""
    return str(status) if status >= 100 else "error" if status else "ok"


def _escaped(value: object) -> str:
    return str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
