"""Changing a running line: another plan, applied without failing a request.

    new processes start and answer → who sends requests is told, back to front → old ones drain and stop

A process whose files changed applies them in its own way: an engine that watches its files sees them replaced,
another gets a signal once its checker has accepted them, the rest restart one after the other. A configuration
that is refused is put back, and the line goes on as it was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from tierline.engines.base import Process
from tierline.errors import EngineError, RunError
from tierline.plan.model import Plan
from tierline.run import probe
from tierline.run.addresses import Addresses, choose
from tierline.run.child import Child
from tierline.run.context import LocalContext
from tierline.run.handover import handed_over
from tierline.run.succession import MORE, Refused, able, succeed

if TYPE_CHECKING:
    from tierline.run.line import Line

_DRAIN = 0.5
"""Seconds between telling those in front and stopping an instance: what was under way arrives."""
_NOTICED = 1.2
_BACK_TO_FRONT = ("python", "envoy", "nginx", "haproxy", "traefik", "varnish", "answers")


class Changed(msgspec.Struct):
    """Names of processes, by what happened to them."""

    added: list[str]
    told: list[str]
    restarted: list[str]
    removed: list[str]


async def change(line: Line, plan: Plan, *, waits: bool = True) -> Changed:
    """Make the line what the plan says. Raises TierlineError when the plan can't be run or is refused; the line
    then is as it was.

    waits: for new processes to answer. Without, one that can't start doesn't keep the others from being changed.
    """
    from tierline.run.line import ordered, processes

    addresses = choose(plan, line.state, keep=line.addresses, was=line.plan)
    context = LocalContext(plan, line.state, addresses)
    wanted = {process.name: process for process in ordered(plan, processes(plan, context))}
    if away := await handed_over(line, plan):
        wanted = {process.name: process for process in ordered(plan, processes(plan, context))}
    try:
        return await _change(line, plan, addresses, context, wanted, waits)
    except BaseException:
        for child in away:
            child.release()
        raise


async def _change(
    line: Line,
    plan: Plan,
    addresses: Addresses,
    context: LocalContext,
    wanted: dict[str, Process],
    waits: bool,
) -> Changed:
    added = [name for name in wanted if name not in line.children]
    removed = [name for name in line.children if name not in wanted]
    touched = [
        name for name, process in wanted.items()
        if name in line.children and _differs(line.children[name].process, process)
    ]  # fmt: skip
    newcomers = {name: Child(wanted[name], line.state, line.changed) for name in added}
    was = line.plan, line.addresses, line.context
    line.plan, line.addresses, line.context = plan, addresses, context
    try:
        await _start(line, newcomers, waits)
    except RunError:
        line.plan, line.addresses, line.context = was
        raise
    told, restarted = [], []
    undo: list[tuple[Child, Process]] = []
    # What plays less than before goes on playing it until nobody sends requests to it any more.
    needed = {need for role in plan.roles.values() for need in role.needs}
    had = {name: set(line.children[name].process.roles) for name in touched}
    fewer = {
        name for name in touched
        if had[name] - set(wanted[name].roles)
        # A server that gets a database for the one it loses (a rename) has it before who uses it starts anew.
        and not (set(wanted[name].roles) - had[name]) & needed
    }  # fmt: skip
    waited = False
    try:
        for name in sorted(touched, key=lambda name: (name in fewer, _rank(wanted[name]))):
            child, before = line.children[name], line.children[name].process
            if name in fewer and not waited:
                await asyncio.sleep(_DRAIN)
                waited = True
            undo.append((child, before))
            if await apply(child, wanted[name]):
                told.append(name)
            else:
                restarted.append(name)
    except (EngineError, RunError):
        for child, before in reversed(undo):
            await apply(child, before)
        for child in newcomers.values():
            await line.drop(child)
        line.plan, line.addresses, line.context = was
        raise
    for name in wanted.keys() - set(added) - set(touched):
        line.children[name].process = wanted[name]  # it runs on as it is, but may have followers now, or none
    if removed and not waited:
        await asyncio.sleep(_DRAIN)
    # Those in front are told: what an instance is still answering may take its time.
    leaving = [line.children[name] for name in removed]
    await asyncio.gather(*(line.drop(child, child.process.drained + MORE) for child in leaving))
    line.changed()
    return Changed(added=added, told=told, restarted=restarted, removed=removed)


async def _start(line: Line, newcomers: dict[str, Child], waits: bool) -> None:
    for name, child in newcomers.items():
        line.children[name] = child
    for child in newcomers.values():
        line.launch(child)
    try:
        for child in newcomers.values() if waits else ():
            await ready(child)
    except RunError:
        for child in newcomers.values():
            await line.drop(child)
        raise


async def restart(child: Child) -> None:
    """Replace a process by a successor that takes over its listening sockets, where it can do that.

    Otherwise restart it; returns when it answers and those in front have noticed: their checks come twice a
    second, and until then they send nothing to it. Raises RunError.
    """
    if able(child):
        try:
            await succeed(child, child.process)
            return
        except Refused as error:
            raise RunError(f"{child.process.name} goes on as it was: {error}") from None
        except RunError:
            pass  # it is blocked and hands nothing over: the restart below ends it
    await child.restart()
    await ready(child)
    await asyncio.sleep(_NOTICED)


async def ready(child: Child) -> None:
    """Wait until a process answers. Raises RunError when it failed or takes too long."""
    deadline = asyncio.get_running_loop().time() + child.process.ready_timeout + 5
    while not child.ready.is_set():
        if child.phase == "failed":
            raise RunError(f"{child.process.name}: {child.problem}")
        if asyncio.get_running_loop().time() > deadline:
            raise RunError(f"{child.process.name} did not become ready\n{child.tail()}")
        await asyncio.sleep(0.01)


async def answers(child: Child) -> None:
    """Wait until a process that was brought back is ready and answers. Raises RunError when it doesn't in time."""
    await ready(child)
    deadline = asyncio.get_running_loop().time() + child.process.ready_timeout
    while not await probe.answers(child.process.ready):
        if asyncio.get_running_loop().time() > deadline:
            raise RunError(
                f"{child.process.name} did not answer within {child.process.ready_timeout:g} s\n{child.tail()}"
            )
        await asyncio.sleep(0.02)


def live(before: Process, process: Process) -> bool:
    """Whether a process can be brought to its new description while it runs."""
    if process.reload == "none" or _settled(before) != _settled(process):
        return False
    return process.live is None or set(_changed(before, process)) <= set(process.live)


async def apply(child: Child, process: Process) -> bool:
    """Bring one process to its new description; True when it went on running meanwhile."""
    before, child.process = child.process, process
    lives = live(before, process)
    if not lives and able(child):
        child.process = before
        try:
            await succeed(child, process)
            return False
        except Refused:
            raise
        except RunError:  # it is blocked: it couldn't answer anybody else either
            child.process = process
    if not lives and not process.check:
        await restart(child)
        return False
    try:
        # Also before a restart: what its checker refuses must not take down what still runs on the last good one.
        await child.rewrite(_changed(before, process))
    except EngineError:
        child.process = before
        await child.rewrite(_changed(process, before))
        raise
    if not lives:
        await restart(child)
        return False
    child.reread()
    return True


def _changed(before: Process, after: Process) -> dict[str, str]:
    return {path: text for path, text in after.files.items() if before.files.get(path) != text}


def _settled(process: Process) -> tuple[object, ...]:
    """What only a restart can change."""
    return (process.argv, process.env, process.cwd, process.stdout)


def _differs(before: Process, after: Process) -> bool:
    return before.files != after.files or _settled(before) != _settled(after)


def _rank(process: Process) -> int:
    return _BACK_TO_FRONT.index(process.engine) if process.engine in _BACK_TO_FRONT else -1
