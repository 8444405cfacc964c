"""A trip: all hops of one request as a waterfall."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tierline.plan.model import TIERS
from tierline.trips.hop import Hop


def ordered(hops: Iterable[Hop]) -> list[Hop]:
    """The hops as a tree walked from the client inwards: children after their parent, by start.

    A hop whose clock moves in coarse steps (nginx: 1 ms) is fitted between its neighbours: it can't have begun
    before the hop that called it nor after the hop that it called.
    """
    unique = {(hop.tier, hop.span or id(hop)): hop for hop in hops}
    listed = sorted(unique.values(), key=lambda hop: (_rank(hop), hop.start_us))
    by_span = {hop.span: hop for hop in listed if hop.span}
    children: dict[str, list[Hop]] = {}
    roots: list[Hop] = []
    for hop in listed:
        if hop.parent in by_span and by_span[hop.parent] is not hop:
            children.setdefault(hop.parent, []).append(hop)
        else:
            roots.append(hop)
    # Envoy passes its parent's context on, so what it called looks like its sibling: put it below.
    for siblings in list(children.values()):
        for tier in ("lb", "gateway"):
            front = next((hop for hop in siblings if hop.tier == tier), None)
            below = [hop for hop in siblings if front is not None and _rank(hop) > _rank(front)]
            if front is not None and below:
                siblings[:] = [hop for hop in siblings if hop not in below]
                siblings = children.setdefault(front.span, [])
                siblings += below
    found: list[Hop] = []
    seen: set[int] = set()

    def walk(hop: Hop, outer: Hop | None) -> None:
        if id(hop) in seen:
            return
        seen.add(id(hop))
        below = sorted(children.get(hop.span, []) if hop.span else [], key=lambda each: each.start_us)
        _fit(hop, outer, below)
        found.append(hop)
        for each in below:
            walk(each, hop)

    for root in roots:
        walk(root, None)
    for hop in listed:  # whatever a broken parent chain would hide
        walk(hop, None)
    return found


def _rank(hop: Hop) -> int:
    return TIERS.index(hop.tier) if hop.tier in TIERS else len(TIERS)


def _fit(hop: Hop, outer: Hop | None, below: list[Hop]) -> None:
    step = hop.resolution_us
    if step <= 1:
        return
    begin, end = hop.start_us, hop.start_us + hop.duration_us
    # The duration is the difference of two clock readings: each end may be off by a step.
    inner = [each for each in below if each.resolution_us <= 1]
    first = min((each.start_us for each in inner), default=None)
    last = max((each.start_us + each.duration_us for each in inner), default=None)
    low = outer.start_us if outer is not None else begin - step
    high = outer.start_us + outer.duration_us if outer is not None else end + step
    if first is not None and last is not None:
        begin = _near((low + first) // 2, begin, step)
        end = _near((high + last) // 2, end, step)
        begin, end = min(begin, first), max(end, last)
    begin = max(begin, low)
    end = min(max(end, begin), high) if high > begin else begin
    hop.start_us, hop.duration_us = begin, max(0, end - begin)


def _near(wanted: int, reported: int, step: int) -> int:
    """What is wanted, as far as it is within a step of what the clock said."""
    return min(max(wanted, reported - step), reported + step)


def own_times(hops: list[Hop]) -> list[int]:
    """Microseconds that each hop spent itself: its duration less what its children cover."""
    result = []
    for index, hop in enumerate(hops):
        begin, end = hop.start_us, hop.start_us + hop.duration_us
        spans = sorted(
            (max(begin, each.start_us), min(end, each.start_us + each.duration_us))
            for each in hops[index + 1 :]
            if _below(each, hop, hops)
        )
        covered, until = 0, begin
        for start, stop in spans:
            start = max(start, until)
            if stop > start:
                covered += stop - start
                until = stop
        result.append(max(0, hop.duration_us - covered))
    return result


def _below(hop: Hop, outer: Hop, hops: list[Hop]) -> bool:
    if outer.tier == "dns":
        return False
    if outer.span and hop.parent == outer.span:
        return True
    if outer.tier in ("client", "cdn", "lb", "cache", "gateway"):
        return _rank(hop) > _rank(outer) and hop.tier != "dns"
    return False


def document(trace: str, status: int, total_us: int, hops: list[Hop]) -> dict[str, Any]:
    """The trip as plain data, what `tierline trip --json` prints. Starts are relative to the first hop."""
    zero = min((hop.start_us for hop in hops), default=0)
    own = own_times(hops)
    return {
        "trace_id": trace,
        "status": status,
        "total_us": total_us,
        "hops": [
            {
                "tier": hop.tier,
                "system": hop.system,
                "zone": hop.zone,
                "start_us": hop.start_us - zero,
                "duration_us": hop.duration_us,
                "own_us": mine,
                "verdict": hop.verdict,
                "attributes": {
                    **({"name": hop.name} if hop.name else {}),
                    **({"http.response.status_code": hop.status} if hop.status > 1 else {}),
                    **({"error": True} if hop.status == 1 else {}),
                    **({"clock_step_us": hop.resolution_us} if hop.resolution_us > 1 else {}),
                    **hop.attributes,
                },
            }
            for hop, mine in zip(hops, own, strict=True)
        ],
    }
