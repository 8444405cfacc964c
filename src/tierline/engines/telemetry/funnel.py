"""Funnels: how many visitors reached each step, out of the events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_QUERY = """
select funnel, position, step, count(*), count(distinct session)
from events
where event = 'step' and (? = '' or funnel = ?) and (? = '' or client = ?) and time >= make_timestamp(?)
group by all order by funnel, position, step
"""


def funnels(
    rows: Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]], name: str, client: str, since: float
) -> list[dict[str, Any]]:
    """Every funnel, or the one of this name: its steps with events, visitors, and conversion.

    since: seconds since the epoch. A visitor is a session; who signs in on the way is one before and one after.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for funnel, position, step, events, visitors in rows(
        _QUERY, (name, name, client, client, int(since * 1e6))
    ):
        steps = found.setdefault(funnel, [])
        before = [each for each in steps if each["position"] < position]
        steps.append(
            {
                "position": position, "step": step, "events": events, "visitors": visitors,
                "of_previous": _share(visitors, before[-1]["visitors"] if before else visitors),
                "of_first": _share(visitors, steps[0]["visitors"] if steps else visitors),
            }
        )  # fmt: skip
    return [{"funnel": funnel, "steps": steps} for funnel, steps in found.items()]


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
