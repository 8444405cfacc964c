"""Fusion: roles that are next to each other and share an engine and a place share one unit.

A tier is a boundary of meaning, not of process. A system cannot tell: its fragment and its addresses are the
same fused or not; only the process differs.
"""

from __future__ import annotations

from tierline.plan.model import Role, Unit
from tierline.stack import Stack
from tierline.tiers.base import system


def fuse(stack: Stack, roles: list[Role], *, fusion: bool = True) -> tuple[Unit, ...]:
    """The roles in units, in the order of the path. With `fusion=False` each role has its own process,
    except roles of a group that can't be taken apart (databases of one server)."""
    groups: dict[str, list[Role]] = {}
    alone = {service.name for service in stack.services if not service.fuse or service.command}
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
            key = role.engine if place in ("primary", role.zone) else f"{role.engine}.{place}"
        elif role.tier in ("experience", "feature") and role.engine == "python":
            shared = (
                fusion and stack.fuse and role.name not in alone and role.id == f"{role.name}.{role.zone}"
            )
            key = f"apps.{role.zone}" if shared else role.id
        elif fusion and role.engine and role.zone and role.tier in ("cdn", "lb", "cache", "gateway"):
            key = f"{role.engine}.{role.zone}"
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
