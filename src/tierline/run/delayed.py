"""Delays of a line's processes: which ports a name means, what a delay of them can't reach; begun, changed, ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from tierline.errors import RunError
from tierline.run.child import Child
from tierline.run.delay import Delay

if TYPE_CHECKING:
    from tierline.run.line import Line


class Late(msgspec.Struct):
    """One process that answers late."""

    child: Child
    ports: frozenset[int]
    at: list[str]
    """What is slow of it, for people: `web.a/http 127.0.0.1:20101`."""
    callers: list[str]
    """Who calls it from inside the same process, and is not delayed."""


def delayed(line: Line, children: Sequence[Child], name: str) -> list[Late]:
    """The processes with the ports of the roles that are meant: all of them, or those that `name` names.

    Raises RunError when nothing of them listens.
    """
    found, roles = [], line.plan.roles
    for child in children:
        mine = [roles[id] for id in child.process.roles if id in roles]
        meant = [role for role in mine if name in (role.id, role.name)] or mine
        open_to = {
            f"{role.id}/{endpoint.name}": line.addresses[(role.id, endpoint.name)]
            for role in meant
            for endpoint in role.endpoints
        }
        ports = frozenset(port for _, port in open_to.values())
        at = [f"{what} {host}:{port}" for what, (host, port) in open_to.items()]
        inside = [
            role.name
            for role in mine
            for name_behind, upstreams in role.upstreams.items()
            for other in meant
            if child.process.engine == "python" and other.name == name_behind and other is not role
            and any(upstream.role == other.id for upstream in upstreams)
        ]  # fmt: skip
        if ports:
            found.append(Late(child, ports, at, inside))
    if not found:
        raise RunError(
            f"nothing of {name or 'that'} listens anywhere: only what is asked by others can be delayed"
        )
    return found


def notes(found: Sequence[Late], name: str) -> list[str]:
    """What isn't delayed although one might think so."""
    callers = sorted({caller for each in found for caller in each.callers})
    if not callers:
        return []
    where = ", ".join(each.child.process.name for each in found if each.callers)
    return [
        f"calls from {', '.join(callers)} to {name or 'others there'} stay inside {where} and aren't delayed: split them with "
        "fuse=False or --no-fusion"
    ]


async def slow(child: Child, ports: frozenset[int], seconds: float, jitter: float) -> None:
    """What arrives at these ports of it arrives later, from now on. Raises RunError when that can't be."""
    delay = next((each for each in child.delays if each.ports == ports), None)
    if delay is None:
        for other in [each for each in child.delays if each.ports & ports]:
            await _end(child, other)
        delay = _again(child, ports) or Delay(child.process.name, ports)
    try:
        try:
            await delay.pace(seconds, jitter)
        except RunError:  # its last connection ended just now, and its process with it; the next is a new one
            await delay.pace(seconds, jitter)
        if delay not in child.delays:
            if child.ready.is_set():
                await delay.enter(child.pid)
            delay.follow(lambda: child.pid if child.ready.is_set() else 0)
            child.delays.append(delay)
    except RunError:
        delay.close()
        raise
    child.changed()


def _again(child: Child, ports: frozenset[int]) -> Delay | None:
    """A delay that has ended, but whose connections are still open: they are its again."""
    child.ended_delays = [each for each in child.ended_delays if each.open]
    found = next((each for each in child.ended_delays if each.ports == ports), None)
    if found is not None:
        child.ended_delays.remove(found)
    return found


async def prompt(child: Child) -> None:
    """It answers as fast as it can again."""
    for delay in list(child.delays):
        await _end(child, delay)


async def _end(child: Child, delay: Delay) -> None:
    child.delays.remove(delay)
    child.ended_delays.append(delay)
    await delay.end(child.pid if child.ready.is_set() else 0)
    child.changed()
