"""Changing what a running Varnish asks: its administration port, no new start that would lose its copies."""

from __future__ import annotations

from tierline.engines.context import Context
from tierline.engines.varnish import admin
from tierline.plan.model import Role


def left_out(role: Role, context: Context, gone: frozenset[str]) -> None:
    """Ask none of `gone` from now on, as long as there are others (config.py: backends in the order of the plan)."""
    if role.tier != "cache":  # a place's store asks the front beside it
        return
    (targets,) = list(role.upstreams.values())[:1]
    every = all(target.role in gone for target in targets)
    commands = [
        ("backend.set_health", f"*.next{number}", "sick" if target.role in gone and not every else "auto")
        for number, target in enumerate(targets[:4])
    ]
    admin.run(context.address(role.id, "admin"), context.secret("varnish.admin"), commands)
