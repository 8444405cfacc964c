"""The same plan with other numbers of instances.

Each zone has a first instance of everything (`catalog.a`); further ones (`catalog.a-2`) are copies of it. What
shares a process with its neighbours goes on doing so: number 2 of the zone's shared process (`apps.a-2`) has
number 2 of those neighbours that have one. The journeys call services of their own process without leaving it,
so they have as many instances as the most of those services: otherwise more instances of a service would not
take over any of the journeys' calls.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tierline.errors import PlanError, choices, nearest
from tierline.plan.model import Endpoint, Plan, Role, Unit, Upstream

SLOTS = ("feature.service", "feature.function", "experience")
"""What can have several instances in a zone."""

Key = tuple[str, str]
"""Name and zone."""


class Bounds(msgspec.Struct, frozen=True):
    """How many instances of a name there may be in each zone."""

    min: int
    max: int


def scales(plan: Plan) -> dict[Key, Bounds]:
    """The bounds of everything that can have several instances."""
    return {(role.name, role.zone): bounds(role) for role in firsts(plan).values()}


def bounds(role: Role) -> Bounds:
    """From the role's own `scale`; without one there is one instance."""
    scale = role.settings.get("scale") or {"min": 1, "max": 1}
    return Bounds(scale["min"], scale["max"])


def counts(plan: Plan) -> dict[Key, int]:
    """How many instances there are now."""
    found = dict.fromkeys(firsts(plan), 0)
    for role in plan.roles.values():
        if role.slot in SLOTS:
            found[(role.name, role.zone)] += 1
    return found


def checked(plan: Plan, name: str, instances: int | None = None) -> None:
    """Raises PlanError for a name that can't be scaled, or a number outside of its `scale`."""
    found = {role.name: role for role in firsts(plan).values()}
    if name not in found:
        raise PlanError(f"no service {name!r}{nearest(name, found)} there are: {choices(found)}")
    role, allowed = found[name], bounds(found[name])
    if instances is not None and not allowed.min <= instances <= allowed.max:
        kind = {"feature.function": f"Function({name!r})", "experience": "the journeys"}
        raise PlanError(
            f"{kind.get(role.slot, f'Service({name!r})')}: {instances} instances in each zone is not allowed: from "
            f"{allowed.min} to {allowed.max}, as its scale=Scale({allowed.min}, {allowed.max}) says"
        )


def scaled(plan: Plan, wanted: Mapping[Key, int]) -> Plan:
    """The plan with these numbers of instances, and everybody who calls them told.

    What isn't named keeps its number, except journeys that follow the services of their process.
    """
    first = firsts(plan)
    ids = {role.id for role in first.values()}
    number = {**counts(plan), **wanted}
    groups = [_only(unit, ids) for unit in (*plan.units, *plan.asleep)]
    groups = [unit for unit in groups if unit.roles]
    for unit in groups:
        for role in unit.roles:
            if role.slot == "experience" and len(unit.roles) > 1:
                number[(role.name, role.zone)] = _followed(unit, role, number, wanted)
    instances: dict[str, list[Role]] = {}
    for key, role in first.items():
        made = [_instance(role, each) for each in range(1, number[key] + 1)]
        instances.setdefault(role.name, []).extend(made)
    units: list[Unit] = []
    asleep: list[Unit] = []
    for unit in groups:
        several = {role.id: number[(role.name, role.zone)] for role in unit.roles if role.id in ids}
        if len(several) == len(unit.roles) and not any(several.values()):
            asleep.append(_called(unit, instances))
            continue
        units.append(_called(unit, instances))
        for each in range(2, max(several.values(), default=1) + 1):
            roles = tuple(_instance(role, each) for role in unit.roles if several.get(role.id, 1) >= each)
            copy = msgspec.structs.replace(unit, id=f"{unit.id}-{each}", roles=roles)
            units.append(_called(copy, instances))
    return msgspec.structs.replace(plan, units=tuple(units), asleep=tuple(asleep))


def spared(plan: Plan, roles: frozenset[str]) -> Plan | None:
    """The plan in which nobody sends requests to these roles; None where somebody has nobody else to send them to."""

    def spares(role: Role) -> Role:
        upstreams = {
            name: tuple(each for each in targets if each.role not in roles)
            for name, targets in role.upstreams.items()
        }
        return msgspec.structs.replace(role, upstreams=upstreams)

    units = tuple(
        msgspec.structs.replace(unit, roles=tuple(spares(role) for role in unit.roles)) for unit in plan.units
    )
    found = msgspec.structs.replace(plan, units=units)
    was = plan.roles
    empty = any(not targets and was[id].upstreams[name] for id, role in found.roles.items()
                for name, targets in role.upstreams.items())  # fmt: skip
    return None if empty else found


def firsts(plan: Plan) -> dict[Key, Role]:
    """The first instance of each name in each zone."""
    return {
        (role.name, role.zone): role
        for unit in (*plan.units, *plan.asleep)
        for role in unit.roles
        if role.slot in SLOTS and role.id == f"{role.name}.{role.zone}"
    }


def measuring(role: Role, plan: Plan) -> bool:
    """Whether a tier has to say who answered and in what time: a command that it calls can't say so itself."""
    roles = plan.roles
    return any(counted_outside(roles[each.role]) for targets in role.upstreams.values() for each in targets)


def counted_outside(role: Role) -> bool:
    """A command: who calls it counts its requests."""
    return role.slot == "feature.service" and bool(role.settings.get("command"))


def _only(unit: Unit, ids: set[str]) -> Unit:
    """The unit without further instances."""
    roles = tuple(role for role in unit.roles if role.slot not in SLOTS or role.id in ids)
    return msgspec.structs.replace(unit, roles=roles)


def _followed(unit: Unit, role: Role, number: Mapping[Key, int], wanted: Mapping[Key, int]) -> int:
    neighbours = [number[(r.name, r.zone)] for r in unit.roles if r.slot == "feature.service"]
    allowed = bounds(role) if role.settings.get("scale") else Bounds(1, max(neighbours, default=1))
    own = wanted.get((role.name, role.zone), allowed.min)
    return min(max(own, *neighbours, 1), allowed.max) if neighbours else own


def _instance(first: Role, number: int) -> Role:
    if number == 1:
        return first
    id = f"{first.id}-{number}"
    endpoints = tuple(Endpoint(id, each.name, each.protocol) for each in first.endpoints)
    return msgspec.structs.replace(first, id=id, endpoints=endpoints)


def _called(unit: Unit, instances: Mapping[str, list[Role]]) -> Unit:
    """The unit, sending what it sends to each name to all of its instances."""
    return msgspec.structs.replace(unit, roles=tuple(_calls(role, instances) for role in unit.roles))


def _calls(role: Role, instances: Mapping[str, list[Role]]) -> Role:
    upstreams = dict(role.upstreams)
    for name, before in role.upstreams.items():
        if name in instances and before:
            targets = (
                Upstream(each.id, before[0].endpoint, int(each.zone != role.zone)) for each in instances[name]
            )
            upstreams[name] = tuple(sorted(targets, key=lambda target: (target.distance, target.role)))
    return msgspec.structs.replace(role, upstreams=upstreams)
