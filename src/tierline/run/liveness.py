"""Finds processes that run and answer nothing, takes them out of balancing, and restarts them.

    probe or heartbeat missed ─▶ "hung" in status, an event ─▶ left out by the tiers in front ─▶ restarted after hang_after
                                                  answers again ─▶ taken back

A process is asked in its engine's own protocol (`Process.alive`); Python processes send a heartbeat from their event
loop (run/voice.py), so a loop that is blocked is seen as well. Probes make no hops, counts or log lines.

A machine that was suspended or is overloaded delays the supervisor too: what is late by as much as the supervisor itself
was is not late. PostgreSQL's processes are looked after by run/failover.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from tierline.engines.base import Process
from tierline.errors import TierlineError
from tierline.run import probe
from tierline.run.guardian import suspended
from tierline.run.leaving_out import regroup, tell_down

if TYPE_CHECKING:
    from tierline.run.child import Child
    from tierline.run.line import Line

EVERY = 0.7
"""Seconds between two probes of a process."""
PATIENCE = 0.4
"""Seconds for one answer; a second probe follows a failed one at once. A process whose health takes longer is given
twice the time that it took lately: it answers, late."""
BEAT = 1.3
"""Seconds without a heartbeat, which comes twice a second."""
_TICK = 0.2
_LATE = 0.3
"""Seconds by which the supervisor may wake too late before it trusts no clock."""


class Liveness:
    """Watches all processes of a line, for as long as `run` runs."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._probing: dict[Child, asyncio.Task[None]] = {}
        self._due: dict[Child, float] = {}
        self._patience: dict[Child, float] = {}
        self._since: dict[Child, float] = {}
        """When each process that is hung answered last."""
        self._ended: dict[Child, int] = {}
        """Processes that were ended and aren't ready again, by the pid that each had: whatever is still found out about that one
        is over."""
        self._regrouping: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._left_out: frozenset[str] = frozenset()
        self._late = 0.0
        """When the supervisor itself was late last."""

    async def run(self) -> None:
        """Until cancelled."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            if (late := now - before - _TICK) > _LATE:
                self._forgive(now, late)
            before = now
            children = list(self._line.children.values())
            for number, child in enumerate(children):
                self._look(child, now, number / max(1, len(children)))
            for gone in (self._since.keys() | self._ended.keys() | self._patience.keys()) - set(children):
                self._since.pop(gone, None)
                self._ended.pop(gone, None)
                self._patience.pop(gone, None)
            for child in [
                each for each, pid in self._ended.items() if each.pid != pid and each.ready.is_set()
            ]:
                del self._ended[child]
            self._regroup()

    def _forgive(self, now: float, late: float) -> None:
        """The supervisor didn't run for so long: nobody else may have either."""
        self._late = now
        for child in self._line.children.values():
            child.beat = min(now, child.beat + late) if child.beat else 0.0
        self._since = {child: since + late for child, since in self._since.items()}
        for task in self._probing.values():
            task.cancel()
        self._probing.clear()
        self._due = dict.fromkeys(self._due, now)

    def _look(self, child: Child, now: float, spread: float) -> None:
        if child.process.cluster is not None or not child.ready.is_set() or child.phase != "ready":
            self._due.pop(child, None)
            if child.phase != "starting":
                child.silent = False  # it is down, which is known without asking
                self._since.pop(child, None)
            return
        if child.process.voice and child.beat:
            self._found(child, now - child.beat < BEAT, now)
        elif (
            child.delays
        ):  # what is slow on purpose isn't hung, nor was it when a probe met the delay's beginning
            child.silent = False
            self._since.pop(child, None)
        elif child.process.alive.kind != "none":
            due = self._due.setdefault(child, now + EVERY * spread)
            if now >= due and child not in self._probing:
                self._due[child] = now + EVERY
                self._probing[child] = asyncio.create_task(self._probe(child))
        elif not child.process.voice:  # what nobody can ask (varnishncsa) may be stopped all the same
            self._found(child, not suspended(child.pid), now)
        if child.silent and not child.hung and now - self._since.get(child, now) > child.process.hang_after:
            self._restart(child)

    async def _probe(self, child: Child) -> None:
        pid = child.pid
        try:
            within = self._patience.get(child, PATIENCE)
            well = await self._answers(child, within) or await self._answers(child, within)
            self._seen(child, pid, well)
            if not well:  # one more, which may take as long as the process is given before it is restarted
                self._seen(child, pid, await self._answers(child, child.process.hang_after))
        finally:
            self._probing.pop(child, None)

    async def _answers(self, child: Child, within: float) -> bool:
        began = time.monotonic()
        well = await probe.answers(child.process.alive, within)
        if well:
            took, before = time.monotonic() - began, self._patience.get(child, PATIENCE)
            self._patience[child] = max(PATIENCE, 0.9 * before, min(2 * took, child.process.hang_after))
        return well

    def _seen(self, child: Child, pid: int | None, well: bool) -> None:
        # Under load an answer may lie in the socket while the loop that reads it is late itself.
        late = not well and time.monotonic() - self._late <= PATIENCE
        if child.pid == pid and child.ready.is_set() and not child.delays and not late:
            self._found(child, well, time.monotonic())

    def _found(self, child: Child, well: bool, now: float) -> None:
        if well == (not child.silent) or self._ended.get(child) == child.pid:
            return
        child.silent = not well
        name = child.process.name
        if well:
            since = self._since.pop(child, now)
            self._line.events.tell("answers", name, f"it answers again, after {now - since:.1f} s")
        else:
            self._since[child] = now
            after = f"it is restarted after {child.process.hang_after:g} s"
            why = "stopped by `tierline hang`: heal brings it back" if child.hung else after
            self._line.events.tell("hung", name, f"it runs and answers nothing; {why}")
        self._line.changed()

    def _restart(self, child: Child) -> None:
        self._since.pop(child, None)
        self._ended[child] = child.pid
        child.silent = False
        seconds = f"{child.process.hang_after:g} s"
        self._line.events.tell("restarted", child.process.name, f"it answered nothing for {seconds}")
        child.problem = f"restarted: it answered nothing for {seconds}"
        child.kill(hold=False)

    def _regroup(self) -> None:
        """Tell the tiers in front when what is to be left out has changed."""
        self._look_for_down()
        roles = frozenset(
            role
            for child in self._line.children.values()
            if self._away(child)
            for role in child.process.roles
        )
        if roles == self._left_out or (self._regrouping is not None and not self._regrouping.done()):
            return
        self._left_out = roles
        self._regrouping = asyncio.create_task(self._told(roles))

    def _look_for_down(self) -> None:
        children = self._line.children.values()
        down = frozenset(role for each in children if not each.ready.is_set() for role in each.process.roles)
        if down != self._line.state.down and (self._telling is None or self._telling.done()):
            self._line.state.down = down
            self._telling = asyncio.create_task(asyncio.to_thread(tell_down, self._line))

    def _away(self, child: Child) -> bool:
        if child.silent or (child.hung and child.ready.is_set()):
            return True
        return child in self._ended  # it is restarted because it hung, and not ready yet

    async def _told(self, roles: frozenset[str]) -> None:
        self._line.state.left_out = roles
        with contextlib.suppress(asyncio.CancelledError):
            try:
                async with self._line.changing:
                    gone = await regroup(self._line)
                for child in self._line.children.values():
                    if (child.silent or child.hung) and gone.intersection(child.process.roles):
                        self._line.events.tell(
                            "left out", child.process.name, "no tier in front sends it anything"
                        )
            except (TierlineError, OSError) as error:
                self._line.events.tell("refused", "liveness", f"those in front go on as they were: {error}")


def default(process: Process) -> Process:
    """The process with its readiness probe as liveness probe, where that asks in the engine's own protocol."""
    import msgspec

    if process.alive.kind != "none" or process.ready.kind not in ("redis", "nats", "http"):
        return process
    # A health of 503 is an answer: it is shown, and nothing that a restart would mend.
    return msgspec.structs.replace(process, alive=msgspec.structs.replace(process.ready, below=600))
