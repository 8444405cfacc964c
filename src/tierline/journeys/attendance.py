"""Whether the clients that wait for an answer are still there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

_AFTER = 0.02


class Stoppable(Protocol):
    """What a client waits for: a run, or what sends one in pieces."""

    def stop(self) -> None: ...


class Visit:
    """A client that waits for a run."""

    __slots__ = ("gone", "receive", "run", "seen", "watcher")

    def __init__(self, run: Stoppable, receive: Callable[[], Awaitable[Any]]) -> None:
        self.run = run
        self.receive = receive
        self.gone = False
        self.seen = False
        self.watcher: asyncio.Task[None] | None = None

    async def watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.run.stop()


class Attendance:
    """Listens for the leaving of clients that have waited for a while: one timer for all of them.

    Most answers are ready before; they never pay for it.
    """

    def __init__(self) -> None:
        self._visits: set[Visit] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self, visit: Visit, loop: asyncio.AbstractEventLoop) -> None:
        self._visits.add(visit)
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(_AFTER, self._look, loop)

    def leave(self, visit: Visit) -> None:
        self._visits.discard(visit)
        if visit.watcher is not None:
            visit.watcher.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for visit in self._visits:
            if visit.seen and visit.watcher is None:
                visit.watcher = loop.create_task(visit.watch())
            visit.seen = True
        self._timer = loop.call_later(_AFTER, self._look, loop) if self._visits else None
