"""Processes that hold the same data (engines/base.py, Cluster): when the one that leads is lost, a follower leads.

Lost is: killed and kept away, failed for good, or silent for two checks in a row. A crash isn't: it starts again at
once, and has everything. Nobody is promoted who might lack an acknowledged write: only while a follower confirmed
each (`together`) may it take over. The old leader is ended first, with all its processes, so that there are never
two; when it comes back it follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tierline.engines.base import Cluster, Process
from tierline.errors import EngineError
from tierline.run import probe
from tierline.run.child import Child
from tierline.run.state import write

_LOOK = 0.05
"""Seconds between two looks at what is known without asking."""
_ASK = 2.0
"""Seconds between two questions to a leader that is well."""
_SILENT = 2
"""Unanswered questions in a row that make a leader lost."""
_DEADLINE = 15.0


class Keeper:
    """One cluster's leader and followers, for as long as the line lives."""

    def __init__(
        self, name: str, children: Mapping[str, Child], describe: Callable[[], dict[str, Process]],
        tell: Callable[[str, str, str], None], changing: asyncio.Lock,
    ) -> None:  # fmt: skip
        """name: the cluster's. children: the line's, as they are at any time. describe: the processes as the engine
        describes them now, by name. tell: what, who, text of an event. changing: held by who changes the line."""
        self._name = name
        self._children = children
        self._describe = describe
        self._tell = tell
        self._changing = changing
        self.together = False
        """Whether each write has been confirmed by a follower since this was set."""

    async def run(self) -> None:
        """Until cancelled."""
        asked, silent, began = 0.0, 0, 0.0
        while True:
            await asyncio.sleep(_LOOK)
            leader = self.leader
            if leader is None:
                continue
            if not leader.ready.is_set():
                if self.together and _lost(leader) and self._ready():
                    await self._replace(leader)
                continue
            if leader.began != began:  # started anew: with the files that count alone
                began, self.together, asked, silent = leader.began, False, 0.0, 0
            if self.together and not self._ready():
                await self._set(leader, together=False)
            due = _ASK if self.together else _ASK / 8
            if time.monotonic() - asked < due or not self._ready():
                continue
            asked = time.monotonic()
            if await probe.answers(leader.process.ready):
                silent = 0
                following = await self._following(leader)
                if following is not None and following != self.together:
                    await self._set(leader, together=following)
            elif leader.ready.is_set():
                silent += 1
                asked = 0.0
            if silent >= _SILENT and self.together:
                await self._replace(leader)

    @property
    def _members(self) -> dict[str, Child]:
        """A line that changes may get members and lose them."""
        return {
            name: child for name, child in self._children.items()
            if child.process.cluster is not None and child.process.cluster.name == self._name
        }  # fmt: skip

    @property
    def leader(self) -> Child | None:
        """None: the line has no such cluster at the moment."""
        members = self._members
        return next((members.get(_cluster(child).leader) for child in members.values()), None)

    def _ready(self) -> list[Child]:
        """Followers that answer."""
        leader = self.leader
        return [child for child in self._members.values() if child is not leader and child.ready.is_set()]

    async def _following(self, leader: Child) -> bool | None:
        """Whether anybody receives what the leader writes; None: it didn't say."""
        said = await _output(_cluster(leader).following)
        return None if said is None else bool(set(said.split()) & {c.process.name for c in self._ready()})

    async def _set(self, leader: Child, *, together: bool) -> None:
        cluster = _cluster(leader)
        with contextlib.suppress(EngineError, ProcessLookupError):
            await leader.rewrite(cluster.together if together else cluster.alone)
            _reload(leader)
            self.together = together

    async def _replace(self, leader: Child) -> None:
        """A change of the line and this one would each describe processes that the other has just replaced."""
        async with self._changing:
            if leader is self.leader and self._ready():
                await self._fail_over(leader)

    async def _fail_over(self, old: Child) -> None:
        began = time.monotonic()
        away = not old.held.is_set()
        new = await self._furthest()
        if new is None:
            return
        await old.fence()
        marker = Path(_cluster(old).marker)
        before = old.process.name
        write(marker, new.process.name + "\n")
        if await _output(_cluster(new).promote) is None:
            # It may lead all the same, with an answer that came too late: there must never be two.
            await new.fence()
            write(marker, before + "\n")
            self._tell(
                "failover",
                before,
                f"{new.process.name} could not take over; see tierline logs {new.process.name}",
            )
            old.release()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(old.ready.wait(), _DEADLINE)
            new.release()  # as one that led, it takes back what only it has
            return
        self.together = False
        described = self._describe()
        for name, child in self._members.items():
            if name not in described:  # the line is just about to lose it
                continue
            was, child.process = child.process, described[name]
            if child is not old:
                changed = {
                    path: text for path, text in child.process.files.items()
                    if path in (child.process.live or ()) and was.files.get(path) != text
                }  # fmt: skip
                await child.rewrite(changed)
                _reload(child)
        took = (time.monotonic() - began) * 1000
        self._tell("failover", before, f"{new.process.name} took over within {took:.0f} ms")
        if not away:
            old.release()

    async def _furthest(self) -> Child | None:
        """The follower that has most: with several, the one that confirmed the last write."""
        found: list[tuple[float, str]] = []
        for child in self._ready():
            said = await _output(_cluster(child).position)
            if said:
                found.append((float(said), child.process.name))
        return self._members[max(found)[1]] if found else None


async def keep(
    children: Mapping[str, Child], describe: Callable[[], dict[str, Process]], tell: Callable[[str, str, str], None],
    changing: asyncio.Lock,
) -> None:  # fmt: skip
    """A keeper for each cluster of the line, also for one that a change brings, until cancelled. children: by name,
    as the line keeps them."""
    async with asyncio.TaskGroup() as tasks:
        kept: set[str] = set()
        while True:
            clusters = {child.process.cluster.name for child in children.values() if child.process.cluster}
            for name in clusters - kept:
                tasks.create_task(Keeper(name, children, describe, tell, changing).run())
            kept |= clusters
            await asyncio.sleep(1)


def _cluster(child: Child) -> Cluster:
    assert child.process.cluster is not None
    return child.process.cluster


def _lost(child: Child) -> bool:
    return child.phase in ("killed", "failed") or not child.held.is_set()


def _reload(child: Child) -> None:
    if child.pids and child.process.reload in ("HUP", "USR2"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, getattr(signal, f"SIG{child.process.reload}"))


async def _output(argv: Sequence[str]) -> str | None:
    """What a command prints; None when it fails or takes too long."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), _DEADLINE)
    except TimeoutError:
        process.kill()
        await process.wait()
        return None
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    return said.decode().strip() if process.returncode == 0 else None
