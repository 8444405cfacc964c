"""A loop over sockets, timers and signals: all that one answering process needs.

asyncio would do, but it brings 7 MB and about a third of the cost of an answer that is in the cache.
"""

from __future__ import annotations

import heapq
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic

IN, OUT = select.EPOLLIN, select.EPOLLOUT


class Timer:
    """A callback at a time. `cancel` may be called at any time, and again."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    def __init__(self) -> None:
        self._poll = select.epoll()
        self._ready: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._running = False
        self._signals: dict[int, Callable[[], None]] = {}
        self._woken, self._wakes = socket.socketpair()
        self._woken.setblocking(False)
        self._wakes.setblocking(False)
        self.add(self._woken.fileno(), IN, self._signalled)

    def add(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Calls back with the events whenever there are some; also for errors and hang-ups."""
        self._ready[fd] = callback
        self._poll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        self._poll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Before the descriptor is closed. Nothing happens when it is not known."""
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (monotonic() + seconds, next(self._order), timer))
        return timer

    def on_signal(self, number: signal.Signals, callback: Callable[[], None]) -> None:
        """Calls back in the loop, never in the middle of something else."""
        self._signals[number] = callback
        signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)

    def _signalled(self, _events: int) -> None:
        for number in self._woken.recv(256):
            if number in self._signals:
                self._signals[number]()

    def stop(self) -> None:
        self._running = False

    def run(self) -> None:
        """Until `stop`. A callback's exception is told and costs only that callback."""
        self._running = True
        while self._running:
            timers = self._timers
            wait = -1.0
            while timers and timers[0][2].callback is None:
                heapq.heappop(timers)
            if timers:
                wait = max(0.0, timers[0][0] - monotonic())
            for fd, events in self._poll.poll(wait):
                callback = self._ready.get(fd)
                if callback is not None:
                    self._call(callback, events)
            if timers:
                now = monotonic()
                while timers and timers[0][0] <= now:
                    timer = heapq.heappop(timers)[2]
                    if timer.callback is not None:
                        due, timer.callback = timer.callback, None
                        self._call(due)

    def _call(self, callback: Callable[..., None], *values: int) -> None:
        try:
            callback(*values)
        except Exception:  # the last resort of a server: one bad moment must not end it
            with suppress(OSError, ValueError):  # a log on a full disk
                traceback.print_exc(file=sys.stderr)

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._poll.close()
        self._woken.close()
        self._wakes.close()
