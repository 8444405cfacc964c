"""Purging copies everywhere: the tier next to the origin first, or those in front would fetch old copies again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tierline.engines.context import Context
from tierline.errors import RunError
from tierline.plan.model import Plan, Role
from tierline.tiers.base import system
from tierline.tiers.cache.tier import Purge


def everywhere(
    plan: Plan, context: Context, order: Purge, runs: Callable[[str], bool]
) -> list[dict[str, Any]]:
    """Purge every cache and place; `{"role", "well", "said"}` for each. One that fails keeps no other from it.

    runs: whether a role's process runs; one that doesn't begins without the copies that it had.

    Raises RunError, before anything is purged, when a system of the line can't purge in that way.
    """
    waves = _waves(plan)
    if not waves:
        raise RunError("this line keeps no copies: the stack has neither cdn= nor cache=")
    asked = {"purge_path": order.paths, "purge_prefix": order.prefixes, "purge_tag": order.tags}
    for role in (role for wave in waves for role in wave):
        plays = system(role.slot, role.system)
        for feature, given in asked.items():
            if given and feature not in plays.supports:
                why = plays.lacks.get(feature, f"{plays.title} doesn't do it")
                raise RunError(f"{role.id}: {feature.replace('_', ' by ')}: {why}")

    def one(role: Role) -> dict[str, Any]:
        try:
            system(role.slot, role.system).purge(role, context, order)
        except RunError as error:
            if runs(role.id):
                return {"role": role.id, "well": False, "said": str(error)}
            return {"role": role.id, "well": True, "said": "doesn't run, and will start without old copies"}
        return {"role": role.id, "well": True, "said": "serves no older copy"}

    done: list[dict[str, Any]] = []
    with ThreadPoolExecutor(8) as pool:
        for wave in waves:
            done += pool.map(one, wave)
    return done


def _waves(plan: Plan) -> list[list[Role]]:
    """Roles that keep copies, from the origin to the clients; those of one wave don't fetch from each other."""
    keep = [role for role in plan.roles.values() if role.tier in ("cache", "cdn") and role.part != "origin"]
    waves = [
        [role for role in keep if role.tier == "cache"],
        [role for role in keep if role.tier == "cdn" and role.settings["shield"] == role.region],
        [role for role in keep if role.tier == "cdn" and role.settings["shield"] != role.region],
    ]
    return [wave for wave in waves if wave]
