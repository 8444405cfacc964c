"""A restart that no request notices, also of what can't hand its listening socket to a successor: a command.

those in front stop sending to it → it finishes what it has and restarts → they send to it again
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tierline.plan.scaling import SLOTS, spared
from tierline.run.change import change, ready, restart
from tierline.run.child import Child
from tierline.run.succession import MORE, able

if TYPE_CHECKING:
    from tierline.run.line import Line

_ARRIVED = 0.3
"""Seconds for requests that were on their way when those in front were told."""


async def rolled(line: Line, child: Child) -> None:
    """Restart a process. The line's lock is the caller's. Raises RunError when it doesn't come back."""
    plan, roles = line.plan, line.plan.roles
    mine = [roles[id] for id in child.process.roles if id in roles]
    service = bool(mine) and all(role.slot in SLOTS for role in mine)
    fewer = spared(plan, frozenset(role.id for role in mine))
    if able(child) or not service or child.phase != "ready" or fewer is None or fewer == plan:
        await restart(child)
        return
    await change(line, fewer)
    try:
        await asyncio.sleep(_ARRIVED)
        await child.restart(child.process.drained + MORE)
        await ready(child)
    finally:
        await change(line, plan)
