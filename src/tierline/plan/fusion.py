"""Fusion: roles that are next to each other and share an engine and a place share one unit.

A tier is a boundary of meaning, not of process. A system cannot tell: its fragment and its addresses are the
same fused or not; only the process differs.
"""

from __future__ import annotations

import msgspec

from tierline.plan.model import Plan, Role, Unit
from tierline.stack import Stack
from tierline.tiers.base import system

_EDGE = ("cdn", "lb", "cache", "gateway")
"""Tiers that an engine may play together, in the order of the path."""


def fuse(stack: Stack, roles: list[Role], *, fusion: bool = True) -> tuple[Unit, ...]:
    """The roles in units, in the order of the path. With `fusion=False` each role has its own process,
    except roles of a group that can't be taken apart (databases of one server)."""
    groups: dict[str, list[Role]] = {}
    alone = {service.name for service in stack.services if not service.fuse or service.command}
    alone |= {function.name for function in stack.functions if function.scale is not None}
    modules: set[str] = set()
    for service in stack.services:
        # A module is imported once per process: a second service of it would have the first one's environment.
        module = (service.app or "").partition(":")[0]
        if service.name not in alone and module in modules:
            alone.add(service.name)
        modules.add(module)
    for role in roles:
        plays = system(role.slot, role.system)
        place = role.zone or role.region if role.part == "" or role.tier == "cdn" else role.part
        if plays.group == "server":
            place = place.replace("standby", "replica")
            server = ".".join(filter(None, (role.engine, plays.servers.get(role.slot, ""))))
            key = server if place in ("primary", role.zone) else f"{server}.{place}"
        elif role.tier in ("experience", "feature") and role.engine == "python":
            shared = (
                fusion and stack.fuse and role.name not in alone and role.id == f"{role.name}.{role.zone}"
            )
            # A service that blocks its process must not keep messages from being acknowledged.
            kind = "functions" if role.slot == "feature.function" else "apps"
            key = f"{kind}.{role.zone}" if shared else role.id
        elif fusion and role.engine and role.zone and role.tier in _EDGE:
            key = f"{role.engine}.{role.zone}" if _next_to_each_other(role, roles) else role.id
        else:
            key = role.id
        groups.setdefault(key, []).append(role)
    return tuple(
        Unit(
            id=key if len(members) > 1 or system(members[0].slot, members[0].system).group else members[0].id,
            engine=members[0].engine,
            region=members[0].region,
            zone=members[0].zone,
            roles=tuple(members),
        )
        for key, members in groups.items()
    )


def _next_to_each_other(role: Role, roles: list[Role]) -> bool:
    """Whether no role of another engine stands between this role and those of its engine in its zone: a process on
    both sides of it has to start both before and after it, which only some systems do without an error (`around`).
    The origin of files has no upstreams, and may stand anywhere."""
    path = [
        each for tier in _EDGE for each in roles
        if each.tier == tier and each.zone == role.zone and each.part != "origin"
    ]  # fmt: skip
    mine = [number for number, each in enumerate(path) if each.engine == role.engine]
    if all(system(path[number].slot, path[number].system).around for number in mine):
        return True
    return len(mine) < 2 or mine[-1] - mine[0] == len(mine) - 1


def apart(plan: Plan, name: str) -> Plan:
    """The plan with a service in processes of its own, as `fuse=False` on it would make it."""
    units: list[Unit] = []
    for unit in plan.units:
        mine = [role for role in unit.roles if role.name == name and role.tier == "feature"]
        rest = tuple(role for role in unit.roles if role not in mine)
        if not mine or not rest or unit.engine != "python":
            units.append(unit)
            continue
        units.append(msgspec.structs.replace(unit, id=unit.id if len(rest) > 1 else rest[0].id, roles=rest))
        units += [msgspec.structs.replace(unit, id=role.id, roles=(role,)) for role in mine]
    return msgspec.structs.replace(plan, units=tuple(units))
