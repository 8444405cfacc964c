"""Processes that hold the same data (engines/base.py, Cluster): when the one that leads is lost, a follower leads.

Lost is: killed and kept away, failed for good, or silent for two checks in a row. A crash isn't: it starts again at
once, and has everything. Nobody is promoted who might lack an acknowledged write: only while a follower confirmed
each (`together`) may it take over. The old leader is ended first, with all its processes, so that there are never
two; when it comes back it follows. A follower that can't catch up any more is made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines.base import Process, Together
from tierline.errors import EngineError
from tierline.run import probe
from tierline.run.child import Child
from tierline.run.cluster import cluster, furthest, leader, members, output, take_over
from tierline.run.tasks import Tasks

_LOOK = 0.05
"""Seconds between two looks at what is known without asking."""
_ASK = 2.0
"""Seconds between two questions to a leader that is well."""
_SILENT = 2
"""Unanswered questions in a row that make a leader lost."""
_STUCK = 20.0
"""Seconds for which a follower may answer without receiving anything, before it is made anew."""


class Follower(msgspec.Struct, frozen=True):
    """What the leader says of one that follows it. state: `follows`, `catches-up`, or `away`."""

    name: str
    state: str
    behind: int = 0
    """Bytes that aren't on its disk yet."""
    late: float = 0.0
    """ms until it shows a write."""


class Keeper:
    """One cluster's leader and followers, for as long as the line lives."""

    def __init__(
        self, name: str, children: Mapping[str, Child], describe: Callable[[], dict[str, Process]],
        tell: Callable[[str, str, str], None], changing: asyncio.Lock, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        """name: the cluster's. children: the line's, as they are at any time. describe: the processes as the engine
        describes them now, by name. tell: what, who, text of an event. changing: held by who changes the line.
        changed: called when `status` tells something else."""
        self._name = name
        self._children = children
        self._describe = describe
        self._tell = tell
        self._changing = changing
        self._changed = changed
        self._told: dict[str, Any] | None = None
        self.together = False
        """Whether a follower has everything that was acknowledged, and confirms each further write."""
        self._joining: asyncio.Task[str | None] | None = None
        """Under way to that: the leader waits for followers already, but may have gone on alone until now."""
        self._led: tuple[Child, float] | None = None
        """Who leads, and since when it runs."""
        self._with: Together | None = None
        """Whom the leader waits for."""
        self._by: frozenset[str] = frozenset()
        """Who may have confirmed something that the others of them lack."""
        self._alone: dict[str, str] = {}
        """Files of who leads when it waits for nobody."""
        self._asked = 0.0
        self._silent = 0
        self._why = ""
        """Why nobody took over when the leader was lost, as it was told."""
        self._seen: dict[str, float] = {}
        """When each follower received something last."""
        self._followers: tuple[Follower, ...] = ()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            if (told := self.status()) != self._told:
                self._told = told
                self._changed()
            leader = self.leader
            if self._led is not None and (leader is None or self._led != (leader, leader.began)):
                await self._forget()
            if leader is None:
                continue
            if not leader.ready.is_set():
                if _lost(leader) and not self._changing.locked() and self._complete():
                    await self._replace(leader)
                continue
            self._led, self._why = (leader, leader.began), ""
            await self._look(leader)

    async def _look(self, leader: Child) -> None:
        if self._joining is not None and self._joining.done():
            self.together = self._joining.result() is not None
            self._joining = None
            if not self.together:
                await self._part(leader)
        if self._with is not None:
            ready = {child.process.name for child in self._ready()} & self._with.names
            self._by |= ready
            # Without one of them, what counts is what the others have: that is found out anew.
            if self._by - ready or self._with not in cluster(leader).together:
                await self._part(leader)
        due = _ASK if self.together else _ASK / 8
        if time.monotonic() - self._asked < due or not self._ready():
            return
        self._asked = time.monotonic()
        if await probe.answers(leader.process.ready):
            self._silent = 0
            follow = await self._following(leader)
            if follow is None:
                return
            best = next((each for each in cluster(leader).together if each.names & follow), None)
            if best != self._with:
                await self._part(leader)
                if best is not None:
                    await self._join(leader, best)
            await self._renew()
        elif leader.ready.is_set():
            self._silent += 1
            self._asked = 0.0
        if self._silent >= _SILENT and self.together and self._complete():
            await self._replace(leader)

    def status(self) -> dict[str, Any] | None:
        """Who leads, who follows, how far behind, as the leader said last; None: the line has no such cluster now."""
        leader = self.leader
        if leader is None:
            return None
        told = {each.name: each for each in self._followers}
        return {
            "name": self._name,
            "leader": leader.process.name,
            "leads": leader.ready.is_set(),
            "synchronous": self.together and leader.ready.is_set(),
            "followers": [
                {"name": each.name, "state": each.state, "behind_bytes": each.behind, "behind_ms": each.late}
                for name, child in self._members.items()
                if child is not leader
                for each in [
                    told.get(name, Follower(name, "away")) if child.ready.is_set() else Follower(name, "away")
                ]
            ],
        }

    @property
    def _members(self) -> dict[str, Child]:
        return members(self._children, self._name)

    @property
    def leader(self) -> Child | None:
        """None: the line has no such cluster at the moment."""
        return leader(self._children, self._name)

    def _ready(self) -> list[Child]:
        """Followers that answer."""
        leader = self.leader
        return [child for child in self._members.values() if child is not leader and child.ready.is_set()]

    def _complete(self) -> bool:
        """Whether all answer who may have confirmed something: then the furthest of them has everything. Why not is
        told once."""
        ready = {child.process.name for child in self._ready()}
        why = ""
        if not self.together:
            why = "no follower had everything when the leader was lost"
        elif missing := self._by - ready:
            why = f"{', '.join(sorted(missing))} may have more than the others, and doesn't answer"
        if why and why != self._why:
            self._tell("failover", self._name, f"nobody takes over: {why}")
        self._why = why
        return not why and bool(ready)

    async def _following(self, leader: Child) -> set[str] | None:
        """Who receives what the leader writes as it writes it; None: it didn't say."""
        said = await output(cluster(leader).following)
        if said is None:
            return None
        ready = {child.process.name for child in self._ready()}
        told = [line.split() for line in said.splitlines()]
        self._followers = tuple(
            Follower(name, state, int(behind), float(late))
            for name, state, behind, late in told
            if name in ready
        )
        self._seen = {name: self._seen.get(name, self._asked) for name in ready}
        self._seen |= {each.name: self._asked for each in self._followers}
        return {each.name for each in self._followers if each.state == "follows"}

    async def _join(self, leader: Child, best: Together) -> None:
        """From now on the leader waits for a follower; it counts once one has all from before."""
        if await self._write(leader, best.files):
            self._with, self._by, self._alone = best, frozenset(), cluster(leader).alone
            self._joining = asyncio.create_task(output(cluster(leader).confirm))

    async def _part(self, leader: Child) -> None:
        """The leader goes on alone, or no write would be acknowledged any more."""
        self._stop_joining()
        self.together = False
        if self._with is not None and await self._write(leader, self._alone):
            self._with = None

    async def _write(self, leader: Child, files: dict[str, str]) -> bool:
        with contextlib.suppress(EngineError, ProcessLookupError):
            await leader.rewrite(files)
            leader.reread()
            return True
        return False

    async def _forget(self) -> None:
        """Another leads, or the same one started anew, with the files that count alone."""
        assert self._led is not None
        child, began = self._led
        self._led = None
        if child.began == began and child.ready.is_set():  # the line has no followers any more
            await self._part(child)
        self._stop_joining()
        self.together, self._with, self._asked, self._silent = False, None, 0.0, 0
        self._seen, self._followers, self._why = {}, (), ""

    def _stop_joining(self) -> None:
        if self._joining is not None:
            self._joining.cancel()
            self._joining = None

    async def _renew(self) -> None:
        """A follower that is too far behind gets nothing any more (what it would need is removed), for ever."""
        for child in self._ready():
            name = child.process.name
            if self._asked - self._seen.get(name, self._asked) < _STUCK or self._changing.locked():
                continue
            if not await probe.answers(child.process.ready):  # it hangs; it may have all
                continue
            self._seen.pop(name)
            self._tell(
                "renewed",
                name,
                f"it received nothing for {_STUCK:g} s: its data is made anew from the leader's",
            )
            Path(cluster(child).made).unlink(missing_ok=True)
            await child.restart()

    async def _replace(self, leader: Child) -> None:
        """A change of the line and this one would each describe processes that the other has just replaced."""
        async with self._changing:
            if leader is self.leader and self.together and self._ready():
                await self._fail_over(leader)

    async def _fail_over(self, old: Child) -> None:
        began = time.monotonic()
        away = not old.held.is_set()
        new = await furthest(self._ready(), self._by)
        if new is None:
            return
        before, after = old.process.name, new.process.name
        await old.fence()
        if not await take_over(self._children, old, new, self._describe):
            self._tell("failover", before, f"{after} could not take over; see tierline logs {after}")
            return
        self.together = False
        took = (time.monotonic() - began) * 1000
        self._tell("failover", before, f"{after} took over within {took:.0f} ms")
        if not away:
            old.release()


async def keep(
    children: Mapping[str, Child], describe: Callable[[], dict[str, Process]], tell: Callable[[str, str, str], None],
    changing: asyncio.Lock, changed: Callable[[], None], keepers: dict[str, Keeper],
    tasks: Tasks,
) -> None:  # fmt: skip
    """A keeper for each cluster of the line, also for one that a change brings, until cancelled. children: by name,
    as the line keeps them. keepers: where they are put, by the cluster's name. tasks: the line's."""
    while True:
        clusters = {child.process.cluster.name for child in children.values() if child.process.cluster}
        for name in clusters - keepers.keys():
            keepers[name] = Keeper(name, children, describe, tell, changing, changed)
            tasks.keep(f"failover of {name}", keepers[name].run)
        await asyncio.sleep(1)


def _lost(child: Child) -> bool:
    return child.phase in ("killed", "failed") or not child.held.is_set()
