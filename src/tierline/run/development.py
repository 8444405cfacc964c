"""The plan of a line that is worked on: what is saved is seen at once, so nobody keeps static files."""

from __future__ import annotations

import msgspec

from tierline.plan.model import Plan, Role


def development(plan: Plan) -> Plan:
    """The plan with static files that places and browsers ask for again each time (`max-age=0`)."""

    def fresh(role: Role) -> Role:
        if role.slot != "cdn" or "assets_ttl" not in role.settings:
            return role
        return msgspec.structs.replace(role, settings={**role.settings, "assets_ttl": 0.0})

    units = tuple(
        msgspec.structs.replace(unit, roles=tuple(fresh(role) for role in unit.roles)) for unit in plan.units
    )
    return msgspec.structs.replace(plan, units=units)
