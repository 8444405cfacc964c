"""What `tierline status` says of a service: its instances, what they carry, and why there are so many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tierline.plan.model import Role
from tierline.plan.scaling import Bounds, bounds
from tierline.run.scale_rule import TARGETS

if TYPE_CHECKING:
    from tierline.run.scale import Scaler

WINDOW = 10.0
"""Seconds that loads are of."""


def service(scaler: Scaler, roles: list[Role]) -> dict[str, Any]:
    """One name in all its zones, as data."""
    first = roles[0]
    scale, allowed = first.settings.get("scale"), _allowed(scaler, first)
    instances = [each for role in roles for each in _instances(scaler, role)]
    reasons = [scaler.reasons[key] for role in roles if (key := (role.name, role.zone)) in scaler.reasons]
    at, why = max(reasons, default=(0.0, ""))
    zone = next((role.zone for role in roles if scaler.reasons.get((role.name, role.zone)) == (at, why)), "")
    return {
        "name": first.name,
        "kind": first.slot.rpartition(".")[2],
        "min": allowed.min,
        "max": allowed.max,
        "desired": {role.zone: len(_playing(scaler, role)) for role in roles},
        "pinned": scaler.pinned.get(first.name),
        "asleep": not instances,
        "targets": {kind: scale[kind] for kind in TARGETS if scale.get(kind)} if scale else {},
        "waiting": scaler.depths.get(first.name),
        "rps": _sum(instances, "rps"),
        "cpu": _sum(instances, "cpu"),
        "p50": _middle(instances),
        "reason": f"{zone}: {why}" if why else "",
        "reason_at": at,
        "instances": instances,
    }


def _allowed(scaler: Scaler, role: Role) -> Bounds:
    """Journeys without a scale have as many as the services of their process."""
    allowed = bounds(role)
    if role.slot == "experience" and not role.settings.get("scale"):
        unit = next(unit for unit in scaler.line.plan.units if role.id in {each.id for each in unit.roles})
        allowed = Bounds(
            1, max([1, *(bounds(each).max for each in unit.roles if each.slot == "feature.service")])
        )
    return allowed


def _playing(scaler: Scaler, role: Role) -> list[str]:
    plan = scaler.line.plan
    return [
        r.id for r in plan.roles.values() if (r.name, r.zone, r.slot) == (role.name, role.zone, role.slot)
    ]


def _instances(scaler: Scaler, role: Role) -> list[dict[str, Any]]:
    ids = set(_playing(scaler, role))
    found = []
    for child, app in scaler.children(role.name, role.zone):
        load = scaler.loads.of(child.process.name, app, WINDOW)
        found.append(
            {
                "role": next((id for id in child.process.roles if id in ids), role.id),
                "process": child.process.name,
                "zone": role.zone,
                "phase": child.phase,
                "began": child.began,
                "rps": load.rps,
                "cpu": load.cpu,
                "p50": load.p50,
            }
        )
    return found


def _sum(instances: list[dict[str, Any]], what: str) -> float | None:
    known = [each[what] for each in instances if each[what] is not None]
    return sum(known) if known else None


def _middle(instances: list[dict[str, Any]]) -> float | None:
    """The median of the instances' medians, each counted by its requests."""
    known = sorted((each["p50"], each["rps"] or 0.0) for each in instances if each["p50"] is not None)
    half = sum(rps for _, rps in known) / 2
    seen = 0.0
    for p50, rps in known:
        seen += rps
        if seen >= half:
            return float(p50)
    return None
