"""One process of the line, from its description to its end: started, known to answer, restarted, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from tierline.engines.base import Filling, Process
from tierline.errors import EngineError, RunError
from tierline.run import probe
from tierline.run.delay import Delay
from tierline.run.ending import clear, ended
from tierline.run.program import Program, send, told
from tierline.run.spare import Spare
from tierline.run.state import State
from tierline.run.voice import Voice

Phase = Literal["waiting", "preparing", "starting", "ready", "backing off", "failed", "stopped", "killed"]

_FAST_CRASH = 10.0
"""A process that lived for less than this many seconds crashed on start."""
_CRASHES = 5
"""Fast crashes in a row that make a crash loop."""
_LONGEST_WAIT = 5.0
"""Seconds between two starts while the disk is full."""


class _Life:
    """One run of a program, and the event of its end."""

    def __init__(self, ended: asyncio.Event) -> None:
        self.ended = ended


class Child(Program):
    """A process and its life. `run` is a task for as long as the line lives."""

    def __init__(self, process: Process, state: State, changed: Callable[[], None]) -> None:
        super().__init__(process, state, changed)
        self.phase: Phase = "waiting"
        self.ready = asyncio.Event()
        self.pid = 0
        self.began = 0.0
        self.ready_after = 0.0
        """Seconds from its start until it answered."""
        self.prepared_in = 0.0
        self.restarts = 0
        self.problem = ""
        self.held = asyncio.Event()
        """Cleared: killed on purpose, not started again until healed."""
        self.held.set()
        self.hung = False
        """Stopped in its tracks on purpose."""
        self.silent = False
        """It runs and answers nothing (run/liveness.py)."""
        self.beat = 0.0
        """When it sent a heartbeat last (monotonic); 0: not yet."""
        self._popen: subprocess.Popen[bytes] | None = None
        self._crashes = 0
        self._spoken = False
        """It has said that it is ready."""
        self._unread = False
        """Files have changed while it was starting."""
        self._stopping = False
        self._asked = asyncio.Event()
        """A restart was asked for: also how a process that failed is tried again."""
        self._exited = asyncio.Event()
        self.voice: Voice | None = None
        self.mistake: dict[str, Any] = {}
        """What its last start that failed has said of the project's mistake."""
        self.heard: Callable[[Child, dict[str, Any]], None] = lambda child, message: None
        """Called for what the process says."""
        self.died: Callable[[Child, int, int], None] = lambda child, pid, code: None
        """Called with pid and exit code when the process ended by itself."""
        self.filling: Filling | None = None
        """How full it was when it was asked last."""
        self.notice: tuple[float, str] = (0.0, "")
        """Something to tell about it, and until when."""
        self.sources: frozenset[str] = frozenset()
        """Files of the project that the process has imported."""
        self.spare: Spare | None = None
        """Its next successor, in development."""
        self.beside: set[int] = set()
        """Processes that come or go: a successor that isn't ready yet, a predecessor that drains."""
        self.delays: list[Delay] = []
        """What makes it answer late."""
        self.ended_delays: list[Delay] = []
        """Those whose connections may still be open."""

    async def run(self, before: Iterable[Child]) -> None:
        """Wait for who comes before, then keep the process running.

        A task that raised is started again (tasks.py): it goes on with the process that runs.
        """
        for other in before:
            await other.ready.wait()
        while not self._stopping:
            await self.held.wait()
            if self._stopping:
                break
            if not (self._runs and self.ready.is_set()) and not await self._started():
                continue
            while not (exited := self._exited).is_set():
                await exited.wait()  # a successor has an end of its own
            self.ready.clear()
            if self._stopping:
                break
            if not self.held.is_set():
                self._phase("killed")
                continue
            if self._asked.is_set():
                self._crashes = 0
                continue
            self.died(self, self.pid, self._popen.returncode if self._popen is not None else 0)
            self.restarts += 1
            lived = time.time() - self.began
            self._crashes = 1 if lived > _FAST_CRASH else self._crashes + 1
            if self._crashes >= _CRASHES and not self.storage.look():
                loop = f"crash loop: {_CRASHES} crashes in a row, the last after {lived:.1f} s"
                await self._fail(told(loop, self.said()))
                continue
            await self._back_off()
        self._phase("stopped")

    async def _started(self) -> bool:
        """Start it; False when it could not be started and is to be tried again."""
        self._asked.clear()
        try:
            await self._end(force=True)  # one that an attempt before has left unfinished
            await self._start()
            return True
        except (EngineError, RunError, OSError) as error:
            await self._end(force=True)
            # It was well before: what is missing is room, and it goes on when there is some again.
            if self.ready_after and (self.storage.look() or isinstance(error, OSError)):
                self.problem = str(error)
                self._crashes += 1
                await self._back_off()
            else:
                await self._fail(str(error))
            return False
        except Exception as error:
            if self.ready_after:
                raise  # reported, and tried again
            await self._end(force=True)
            await self._fail(f"{self.process.name} could not be started: {type(error).__name__}: {error}")
            return False

    async def _fail(self, problem: str) -> None:
        """It isn't tried again until somebody asks."""
        self.problem = problem
        self._phase("failed")
        await self._asked.wait()
        self._crashes = 0

    async def _back_off(self) -> None:
        """The first restart is at once: a crash should cost nobody anything."""
        self._phase("backing off")
        wait = min(0.2 * 2 ** (self._crashes - 2), _LONGEST_WAIT) if self._crashes > 1 else 0
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), wait)

    async def _start(self) -> None:
        began = time.monotonic()
        self.begins()
        self._unread = False
        self._phase("preparing")
        accepted = self.accepted == self.process.files
        self.write(self.process.files)
        for folder in self.process.folders:
            self.make_folder(Path(folder))
        for written in map(Path, self.process.writes):
            if not written.exists():
                written.touch(mode=0o600)
            self.own(written)
        for step in self.process.before_start:
            await self.step(step)
        if self.process.check and not accepted:  # a restart needn't ask again about the same files
            await self.check()
        self.accepted = dict(self.process.files)
        self.prepared_in = time.monotonic() - began
        self._phase("starting")
        for delay in self.delays:
            await delay.leave(0)
        self._spawn()
        deadline = time.monotonic() + self.process.ready_timeout
        wait, within = 0.002, 1.0
        # Somebody else may listen on the same port (a predecessor): one that can say so is ready once it has said it.
        while not (
            await probe.answers(self.process.ready, within) and (self._spoken or not self.process.voice)
        ):
            if self._exited.is_set():
                code = self._popen.returncode if self._popen else "?"
                if self.restarts == 0 and not self.ready_after:
                    await asyncio.sleep(0.01)  # for its last words
                    said = f"{self.process.name} ended with exit code {code} while starting"
                    if not self.mistake:
                        raise RunError(told(said, self.said()))
                    said += f": {self.mistake['text']}"
                    raise RunError(said if self.mistake.get("whole") else f"{said}\n{self.tail()}")
                return
            if time.monotonic() > deadline:
                problem = (
                    f"{self.process.name} did not answer {self.process.ready.kind} {self.process.ready.target} "
                    f"within {self.process.ready_timeout:g} s"
                    + (f": {advice}" if (advice := self.process.ready.advice) else "")
                    + (f"\n{last}" if (last := self.tail()) else f"; {self.log.name} is empty")
                )
                if not self.ready_after:
                    raise RunError(problem)
                self.problem = problem  # it was well before: one more crash
                await self._end(force=True)
                return
            await asyncio.sleep(wait)
            wait, within = min(wait * 1.5, 0.05), min(within * 2, probe.SLOW)
        for step in self.process.after_ready:
            await self.step(step)
        self.ready_after = time.monotonic() - began
        self.problem = ""
        self._phase("ready")
        self.ready.set()
        if self._unread:
            self.reread()

    def _spawn(self) -> None:
        self._spoken = False
        popen, self.voice = self.launch({}, ())
        self.take(popen)

    def take(self, popen: subprocess.Popen[bytes]) -> None:
        """This program is the process from now on."""
        self._popen = popen
        self._exited = asyncio.Event()
        self.pid = popen.pid
        self.hung = False
        self.silent = False
        self.beat = 0.0
        self.began = time.time()
        self._life = _Life(self._exited)
        asyncio.create_task(self._watch(popen, self._life))  # noqa: RUF006  it ends with the process
        self.changed()

    def replace(self, popen: subprocess.Popen[bytes], voice: Voice) -> asyncio.Event:
        """A successor is the process from now on. The event of the older one's end."""
        woken, ended = self._exited, asyncio.Event()
        self._life.ended = ended  # its end isn't the process's end any more
        self.voice = voice
        self.take(popen)
        woken.set()
        return ended

    def heard_by(self, voice: Voice | None, message: dict[str, Any]) -> None:
        if "ready" in message and voice is self.voice:
            self._spoken = True
        if "load" in message and voice is self.voice:
            self.beat = time.monotonic()
        if "files" in message and voice is self.voice:
            self.sources = frozenset(message["files"])
        if "failed" in message:
            self.mistake = message["failed"]
        if "lost" in message:
            self.storage.failed(f"spans of {self.process.name}", message["problem"], message["lost"])
        if "unlogged" in message:
            self.storage.failed(self.log.name, "its process could not write to it", message["unlogged"])
        self.heard(self, message)

    async def _watch(self, popen: subprocess.Popen[bytes], life: _Life) -> None:
        try:
            await ended(popen)
            await clear(popen, self.process)
        finally:
            life.ended.set()

    async def retire(self, within: float) -> None:
        """End it once what it is answering is answered, `within` seconds at most."""
        self._stopping = True
        if self._popen is None or self._exited.is_set():
            return
        if self.voice is not None:
            self.voice.say(do="retire")
        else:
            send(self._popen.pid, getattr(signal, f"SIG{self.process.stop_signal}"), group=False)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._exited.wait(), within)

    async def stop(self) -> None:
        """Gracefully, then by force."""
        self._stopping = True
        self.held.set()
        if self.spare is not None:
            self.spare.end()
            self.spare = None
        for pid in self.beside:
            send(pid, signal.SIGTERM, group=False)
        await self._end()
        for pid in self.beside:
            send(pid, signal.SIGKILL)
        for delay in (*self.delays, *self.ended_delays):
            delay.close()
        self._phase("stopped")

    async def _end(self, force: bool = False, within: float = 0.0) -> None:
        if self._popen is None or self._exited.is_set():
            return
        if not force:
            for delay in self.delays:
                await delay.leave(self.pid)
        if not force and self.process.drain and self.phase == "ready":
            await self.drain()
        number = signal.SIGKILL if force else getattr(signal, f"SIG{self.process.stop_signal}")
        send(self._popen.pid, number, group=force)
        try:
            await asyncio.wait_for(self._exited.wait(), within or self.process.stop_timeout)
        except TimeoutError:
            send(self._popen.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._exited.wait(), 2)

    async def restart(self, within: float = 0.0) -> None:
        """Stop it gracefully, when it runs; `run` starts it again. Asked for, so it isn't a crash.

        within: seconds that it has for what it is still answering, instead of its own.
        """
        self.ready.clear()
        self._asked.set()
        if self.phase == "failed":
            self._phase("waiting")
        self.heal()
        await self._end(within=within)

    async def again(self) -> None:
        """The steps that come after it is ready, once more: they do only what is left to do."""
        for step in self.process.after_ready:
            await self.step(step)

    def reread(self) -> None:
        """Its files have changed: the signal that it reads them at. One that still starts gets it once it is ready:
        until then a signal may end it."""
        if self.process.reload not in ("HUP", "USR2"):
            return
        if self._runs and self.ready.is_set():
            self._unread = False
            send(self.pid, getattr(signal, f"SIG{self.process.reload}"), group=False)
        else:
            self._unread = True

    def kill(self, hold: bool) -> None:
        """End it at once, as a crash would. hold: and keep it away until `heal`."""
        if hold:
            self.held.clear()
        if self._popen is not None and not self._exited.is_set():
            send(self._popen.pid, signal.SIGCONT)
            send(self._popen.pid, signal.SIGKILL)

    async def fence(self) -> None:
        """End it and all its processes by force and keep it away; returns when none of them is left."""
        self.kill(hold=True)
        self.ready.clear()
        if self.step_pid:
            send(self.step_pid, signal.SIGKILL)
        if self._popen is not None:
            await self._exited.wait()

    async def leave(self, within: float) -> None:
        """End it in order and keep it away: what it has to do takes `within` seconds at most."""
        self.held.clear()
        self.ready.clear()
        await self._end(within=within)

    def release(self) -> None:
        """After `fence` or `leave`: let it start again, also when it had failed."""
        self._asked.set()
        self.heal()

    @property
    def _runs(self) -> bool:
        return self._popen is not None and not self._exited.is_set()

    @property
    def pids(self) -> tuple[int, ...]:
        """What runs now: the process, a step before or after its start."""
        runs = self._runs
        spare = self.spare.popen.pid if self.spare is not None else 0
        return tuple(pid for pid in (self.pid if runs else 0, self.step_pid, spare, *self.beside) if pid)

    def heal(self) -> None:
        """Let it run again."""
        if self._popen is not None and not self._exited.is_set():
            send(self._popen.pid, signal.SIGCONT)
        self.hung = False
        self.held.set()
        self.changed()

    def hang(self) -> None:
        """Stop it in its tracks (SIGSTOP): it keeps its sockets and answers nothing."""
        if self._popen is not None and not self._exited.is_set():
            send(self._popen.pid, signal.SIGSTOP)
            self.hung = True
            self.changed()

    def _phase(self, phase: Phase) -> None:
        self.phase = phase
        self.changed()
