"""Leaves roles that don't answer out of what the tiers in front send requests to, while those run.

The plan stays what it is. What an engine is given is the plan without them, and it applies that in its own way: files
that it watches, a reload, its administration socket. A name service goes on knowing them, as its policies name places,
and takes them as unhealthy. The last one of a list is never left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING

import msgspec

from tierline.engines.base import Process
from tierline.errors import TierlineError
from tierline.plan.model import Plan, Role, Upstream

if TYPE_CHECKING:
    from tierline.run.line import Line

_FRONT = ("dns", "cdn", "lb", "cache", "gateway", "experience", "feature")
"""Services too: what calls others by `tierline.resources.service` balances by itself."""


def reachable(plan: Plan, left_out: frozenset[str]) -> Plan:
    """The plan whose tiers in front know nothing of these roles, as long as there are others."""
    if not left_out:
        return plan

    def changed(role: Role) -> Role:
        if role.tier not in _FRONT:
            return role
        if role.tier == "dns":
            return msgspec.structs.replace(
                role, settings={**role.settings, "left_out": sorted(_gone(role, left_out))}
            )
        return msgspec.structs.replace(
            role, upstreams={name: _others(targets, left_out) for name, targets in role.upstreams.items()}
        )

    units = tuple(msgspec.structs.replace(unit, roles=tuple(map(changed, unit.roles))) for unit in plan.units)
    return msgspec.structs.replace(plan, units=units)


def _others(targets: tuple[Upstream, ...], left_out: frozenset[str]) -> tuple[Upstream, ...]:
    return tuple(each for each in targets if each.role not in left_out) or targets


def _gone(role: Role, left_out: frozenset[str]) -> frozenset[str]:
    """What a role asks no more."""
    return frozenset(
        target.role for targets in role.upstreams.values() for target in targets if target not in _others(targets, left_out)
    )  # fmt: skip


async def regroup(line: Line) -> frozenset[str]:
    """Tell the processes in front what they may send requests to now. The roles that they don't ask any more."""
    from tierline.run.change import apply, live
    from tierline.run.line import ordered, processes

    roles = line.plan.roles
    wanted = await asyncio.to_thread(lambda: ordered(line.plan, processes(line.plan, line.context)))
    first: TierlineError | None = None
    for process in wanted:
        child = line.children.get(process.name)
        # What has no role keeps the files of one that has (a name server's health checks).
        front = not process.roles or any(
            role in roles and roles[role].tier in _FRONT for role in process.roles
        )
        if child is None or not front or child.silent or not child.ready.is_set():
            continue
        try:
            if child.process.files != process.files and live(child.process, process):
                await apply(child, process)
            else:
                await asyncio.to_thread(_told, line, process)
        except TierlineError as error:
            first = first or error
    if first is not None:
        raise first
    fronts = [role for role in roles.values() if role.tier in _FRONT]
    return frozenset().union(*(_gone(role, line.state.left_out) for role in fronts))


def tell_down(line: Line) -> None:
    """Tell of what doesn't run whoever can't find it out: Varnish can't send an empty POST again that was refused."""
    for child in list(line.children.values()):
        if child.ready.is_set() and not child.silent:
            with contextlib.suppress(TierlineError, OSError, KeyError):
                _told(line, child.process)


def _told(line: Line, process: Process) -> None:
    """An engine that can't reload is told on its administration port, where it has one."""
    try:
        module = importlib.import_module(f"tierline.engines.{process.engine}.live")
    except ModuleNotFoundError:
        return
    if hasattr(module, "left_out"):
        for role in process.roles:
            module.left_out(line.plan.roles[role], line.context, line.state.left_out | line.state.down)
