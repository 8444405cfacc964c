"""What one application of a process does to the others: it blocks the event loop, or the memory grows with it.

A thread looks at the loop's heartbeat and, every second, at the resident memory. What it finds it tells the
supervisor, by the application's name.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from typing import Any

from tierline.engines.python.blame import Blame, Blamed
from tierline.engines.python.growth import Growth
from tierline.engines.python.voice import Voice

log = logging.getLogger("tierline.apps")

_BEAT = 0.05
_LIMIT = 0.25
"""Seconds without a heartbeat that are a blocked loop."""
_AGAIN = 5.0


class Watch:
    """See the module. `start` from the event loop's own thread."""

    def __init__(self, blame: Blame, voice: Voice, growth: Growth) -> None:
        self._blame = blame
        self._voice = voice
        self._growth = growth
        self._beat = time.monotonic()
        self._thread_id = 0
        self.blocked: tuple[int, int, Blamed] | None = None
        """The last time the loop was blocked: begin and end (0: not yet) in ns since the epoch, and by whom."""

    def start(self) -> None:
        self._thread_id = threading.get_ident()
        self._pulse(asyncio.get_running_loop())
        threading.Thread(target=self._look, name="tierline-watch", daemon=True).start()

    def _pulse(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat = time.monotonic()
        loop.call_later(_BEAT, self._pulse, loop)

    def during(self, began: int) -> tuple[int, int, Blamed] | None:
        """How the loop was blocked since a time (ns since the epoch): begin, end, by whom."""
        if self.blocked is None:
            return None
        start, end, who = self.blocked
        end = end or time.time_ns()
        return (max(start, began), end, who) if end > began else None

    def _look(self) -> None:
        look_at, paused = 0.0, -1.0
        while True:
            slept, worked = time.monotonic(), time.process_time()
            time.sleep(_LIMIT / 4)
            beat = self._beat
            over = time.monotonic() - slept - _LIMIT / 4
            if over > _LIMIT / 2 and time.process_time() - worked < over / 2:
                paused = beat  # the whole process stood still (SIGSTOP, a busy machine): nobody's fault here
            late = time.monotonic() - beat - _BEAT
            if late >= _LIMIT and beat != paused:
                self._follow(beat)
            elif time.monotonic() >= look_at:
                look_at = time.monotonic() + 1
                self._growth.look(self._voice)

    def _follow(self, beat: float) -> None:
        """The loop is blocked: by whom, and until when."""
        began = time.time_ns() - int((time.monotonic() - beat) * 1e9)
        who = self._blame.stack(sys._current_frames().get(self._thread_id))
        if not who.app:
            # Only the loop itself is on the stack: it was not given the processor, or has gone on meanwhile.
            while self._beat == beat and not who.app:
                time.sleep(_BEAT)
                who = self._blame.stack(sys._current_frames().get(self._thread_id))
            if self._beat != beat:
                return
        self.blocked = (began, 0, who)
        say_at = beat + _AGAIN
        while self._beat == beat:
            time.sleep(0.01)
            if time.monotonic() >= say_at:
                say_at += _AGAIN
                who = self._blame.stack(sys._current_frames().get(self._thread_id))
                self.blocked = (began, 0, who)
                self._tell(who, time.monotonic() - beat, "blocks", "already ")
        self.blocked = (began, time.time_ns(), who)
        self._tell(who, time.monotonic() - beat, "blocked")

    def _tell(self, who: Blamed, seconds: float, verb: str, already: str = "") -> None:
        text = f"{verb} the event loop for {already}{seconds:.1f} s at {who}"
        log.warning("%s %s", who.app or "an application", text)
        self._voice.say(told="blocked", app=who.app, text=text, seconds=round(seconds, 2))


def ending(blame: Blame, voice: Voice) -> None:
    """An application that ends the whole process (os._exit, os.abort) is told by name first."""
    real_exit, real_abort, mine = os._exit, os.abort, os.getpid()

    def tell(how: str) -> None:
        if os.getpid() == mine:  # not in a child that forked
            who = blame.stack(sys._getframe(2))
            voice.say(told="ending", app=who.app, text=f"called {how} at {who}")

    def leave(status: int) -> Any:
        tell(f"os._exit({status})")
        real_exit(status)

    def abort() -> Any:
        tell("os.abort()")
        real_abort()

    os._exit, os.abort = leave, abort
