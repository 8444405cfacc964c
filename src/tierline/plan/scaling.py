"""The same plan with another number of instances of a service."""

from __future__ import annotations

import msgspec

from tierline.errors import PlanError, choices, nearest
from tierline.plan.model import Endpoint, Plan, Role, Unit, Upstream

SLOT = "feature.service"


def scaled(plan: Plan, service: str, instances: int) -> Plan:
    """The plan with `instances` of the service in each zone, and everybody who calls it told.

    Raises PlanError for an unknown service, or a number outside of the service's `scale`.
    """
    roles = [role for role in plan.roles.values() if role.slot == SLOT and role.name == service]
    if not roles:
        names = {role.name for role in plan.roles.values() if role.slot == SLOT}
        raise PlanError(f"no service {service!r}{nearest(service, names)} there are: {choices(names)}")
    scale = roles[0].settings["scale"]
    if not scale["min"] <= instances <= scale["max"]:
        raise PlanError(
            f"Service({service!r}): {instances} instances in each zone is not allowed: from {scale['min']} to "
            f"{scale['max']}, as its scale=Scale({scale['min']}, {scale['max']}) says"
        )
    firsts = {role.zone: role for role in roles if role.id == f"{service}.{role.zone}"}
    wanted = {
        _name(service, zone, number): _instance(first, _name(service, zone, number))
        for zone, first in firsts.items()
        for number in range(1, instances + 1)
    }
    there = {role.id for role in roles}
    units = []
    for unit in plan.units:
        kept = tuple(
            _calls(role, service, wanted) for role in unit.roles if role.id not in there or role.id in wanted
        )
        if kept:
            units.append(msgspec.structs.replace(unit, roles=kept))
    for id, role in wanted.items():
        if id not in there:
            # An instance more is a process more: what shares a process has one of each.
            alone = _calls(role, service, wanted)
            units.append(Unit(id=id, engine=role.engine, region=role.region, zone=role.zone, roles=(alone,)))
    return msgspec.structs.replace(plan, units=tuple(units))


def _name(service: str, zone: str, number: int) -> str:
    return f"{service}.{zone}" if number == 1 else f"{service}.{zone}-{number}"


def _instance(first: Role, id: str) -> Role:
    endpoints = tuple(Endpoint(id, each.name, each.protocol) for each in first.endpoints)
    return msgspec.structs.replace(first, id=id, endpoints=endpoints)


def _calls(role: Role, service: str, wanted: dict[str, Role]) -> Role:
    """The role, sending what it sends to the service to the wanted instances."""
    if service not in role.upstreams:
        return role
    endpoint = role.upstreams[service][0].endpoint
    targets = (Upstream(each.id, endpoint, int(each.zone != role.zone)) for each in wanted.values())
    upstreams = tuple(sorted(targets, key=lambda target: (target.distance, target.role)))
    return msgspec.structs.replace(role, upstreams={**role.upstreams, service: upstreams})
