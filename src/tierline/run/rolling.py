"""A restart that no request notices, also of what can't hand its listening socket to a successor: a command, an edge tier.

those in front stop sending to it → it finishes what it has and restarts → they send to it again
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tierline.errors import TierlineError
from tierline.plan.scaling import SLOTS, spared
from tierline.run.change import change, ready, restart
from tierline.run.child import Child
from tierline.run.leaving_out import regroup
from tierline.run.succession import MORE, able

if TYPE_CHECKING:
    from tierline.run.line import Line

_ARRIVED = 0.3
"""Seconds for requests that were on their way when those in front were told."""
_NAMED = 2.0
"""Seconds for a name service to take its new files, and for who asked before that to connect."""


async def rolled(line: Line, child: Child) -> None:
    """Restart a process. The line's lock is the caller's. Raises RunError when it doesn't come back."""
    plan, roles = line.plan, line.plan.roles
    mine = [roles[id] for id in child.process.roles if id in roles]
    service = bool(mine) and all(role.slot in SLOTS for role in mine)
    fewer = spared(plan, frozenset(role.id for role in mine))
    if able(child) or child.phase != "ready":
        await restart(child)
    elif not service:
        await _aside(line, child)
    elif fewer is None or fewer == plan:
        await restart(child)
    else:
        await change(line, fewer)
        try:
            await asyncio.sleep(_ARRIVED)
            await child.restart(child.process.drained + MORE)
            await ready(child)
        finally:
            await change(line, plan)


async def _aside(line: Line, child: Child) -> None:
    """Restart what isn't a service: left out meanwhile, as what hangs is, where those in front have another."""
    state, roles = line.state, frozenset(child.process.roles)
    before = state.left_out
    away = (each for each in line.children.values() if not each.ready.is_set())
    state.left_out = before | roles | {role for each in away for role in each.process.roles}
    gone: frozenset[str] = frozenset()
    try:
        with contextlib.suppress(TierlineError, OSError):
            gone = roles & await regroup(line)
        if gone:
            await asyncio.sleep(_ARRIVED + _answered(line, gone))
            await child.restart(child.process.drained + MORE)
            await ready(child)
        else:
            await restart(child)
    finally:
        state.left_out = before
        with contextlib.suppress(TierlineError, OSError):
            await regroup(line)


def _answered(line: Line, gone: frozenset[str]) -> float:
    """Seconds for which resolvers may keep the answer that names one of these places."""
    named = [
        role.settings.get("ttl", 0) + _NAMED for role in line.plan.roles.values()
        if role.tier == "dns" and any(each.role in gone for targets in role.upstreams.values() for each in targets)
    ]  # fmt: skip
    return max(named, default=0.0)
