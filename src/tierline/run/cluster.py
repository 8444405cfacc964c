"""Processes that hold the same data (engines/base.py, Cluster), as children of the line: who they are, and how one of
them takes over from another that has ended."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tierline.engines.base import Cluster, Process
from tierline.run.child import Child
from tierline.run.state import write

DEADLINE = 15.0


def cluster(child: Child) -> Cluster:
    assert child.process.cluster is not None
    return child.process.cluster


def members(children: Mapping[str, Child], name: str) -> dict[str, Child]:
    """A line that changes may get members and lose them."""
    return {
        each: child for each, child in children.items()
        if child.process.cluster is not None and child.process.cluster.name == name
    }  # fmt: skip


def leader(children: Mapping[str, Child], name: str) -> Child | None:
    """None: the line has no such cluster at the moment."""
    found = members(children, name)
    return next((found.get(cluster(child).leader) for child in found.values()), None)


async def furthest(followers: Iterable[Child], needed: frozenset[str] = frozenset()) -> Child | None:
    """The follower that has most: with several, the one that confirmed the last write. None as well: one of `needed`
    doesn't answer, so it may have more."""
    found: list[tuple[float, str, Child]] = []
    for child in followers:
        said = await output(cluster(child).position)
        if said:
            found.append((float(said), child.process.name, child))
    if not found or needed - {name for _, name, _ in found}:
        return None
    return max(found, key=lambda each: each[:2])[2]


async def take_over(
    children: Mapping[str, Child], old: Child, new: Child, describe: Callable[[], dict[str, Process]]
) -> bool:
    """Who has ended is succeeded by a follower, and everybody is told. False: it could not; then all is as it was,
    the old leader runs again, and leads."""
    marker, before = Path(cluster(old).marker), old.process.name
    write(marker, new.process.name + "\n", lasting=True)  # before anything is acknowledged there
    if await output(cluster(new).promote) is None:
        # It may lead all the same, with an answer that came too late: there must never be two.
        await new.fence()
        write(marker, before + "\n", lasting=True)
        old.release()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(old.ready.wait(), DEADLINE)
        new.release()  # as one that led, it takes back what only it has
        return False
    described = describe()
    for name, child in members(children, cluster(old).name).items():
        if name not in described:  # the line is just about to lose it
            continue
        was, child.process = child.process, described[name]
        if child is not old:
            changed = {
                path: text for path, text in child.process.files.items()
                if path in (child.process.live or ()) and was.files.get(path) != text
            }  # fmt: skip
            await child.rewrite(changed)
            child.reread()
    return True


async def hand_over(
    children: Mapping[str, Child],
    old: Child,
    followers: Iterable[Child],
    describe: Callable[[], dict[str, Process]],
) -> tuple[Child, float] | None:
    """A leader that is well makes room: it ends in order, and whoever has all of it leads. Who, and the seconds that
    nobody took writes; None: nobody had everything, and it leads as before. The old leader is held."""
    new = await furthest(followers)
    if new is None:
        return None
    began = time.monotonic()
    await old.leave(DEADLINE)
    if await output(cluster(new).complete) is not None and await take_over(children, old, new, describe):
        return new, time.monotonic() - began
    old.release()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(old.ready.wait(), DEADLINE)
    return None


async def output(argv: Sequence[str]) -> str | None:
    """What a command prints; None when it fails or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    return said.decode().strip() if process.returncode == 0 else None
