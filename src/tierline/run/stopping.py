"""Signals that ask the supervisor to stop, from before anything is started until nothing is left.

SIGINT, SIGTERM, SIGHUP and SIGQUIT mean the same; a second one changes nothing. asyncio's own handlers would be gone as soon
as its loop is closed, with the state folder still to be tidied up.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Stopping:
    """Handles them from its making on."""

    def __init__(self) -> None:
        self.asked = False
        self._wake: Callable[[], object] | None = None
        for number in _NUMBERS:
            # Under nohup a terminal that goes away is no reason to stop.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._wake is not None:
            self._wake()

    def sets(self, event: asyncio.Event) -> None:
        """Set the event, of the running loop, from now on."""
        loop = asyncio.get_running_loop()
        self._wake = lambda: loop.call_soon_threadsafe(event.set)
        if self.asked:
            event.set()

    def release(self) -> None:
        """The loop is about to close."""
        self._wake = None

    def end(self) -> None:
        """Nothing is left to stop: a signal while Python ends would only spoil the exit code."""
        for number in _NUMBERS:
            signal.signal(number, signal.SIG_IGN)
