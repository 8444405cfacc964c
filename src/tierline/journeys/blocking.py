"""Tells which part blocks the event loop: asynchronous code that never waits stops everybody's requests."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from types import CodeType, FrameType

from tierline.journeys.journey import Journey

log = logging.getLogger("tierline.journeys")

_BEAT = 0.05


class Watch:
    """A thread that looks at the event loop's stack when its heart has not beaten for `limit` seconds.

    names: what to call a function's code, such as "part details of the journey film". Any other code is told by
    its file and line.
    """

    def __init__(self, names: Mapping[CodeType, str], limit: float = 0.25) -> None:
        self._names = names
        self._limit = limit
        self._beat = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop_thread = 0

    def start(self) -> None:
        """From the event loop's own thread."""
        self._loop_thread = threading.get_ident()
        self._stopped.clear()
        self._pulse(asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._look, name="tierline-blocking", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _pulse(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat = time.monotonic()
        self._timer = loop.call_later(_BEAT, self._pulse, loop)

    def _look(self) -> None:
        told = 0.0
        while not self._stopped.wait(self._limit / 2):
            beat = self._beat
            late = time.monotonic() - beat - _BEAT
            if late < self._limit or beat == told:
                continue
            told = beat
            frame = sys._current_frames().get(self._loop_thread)
            if frame is not None:
                log.warning("%s blocks the event loop for more than %d ms", self.blamed(frame), late * 1000)

    def blamed(self, frame: FrameType) -> str:
        """The innermost known function on the stack, and the line that runs."""
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        each: FrameType | None = frame
        while each is not None:
            if name := self._names.get(each.f_code):
                return f"{name} ({each.f_code.co_filename}:{each.f_lineno})"
            each = each.f_back
        return f"{frame.f_code.co_name} ({where})"


def codes(journeys: Iterable[Journey]) -> dict[CodeType, str]:
    """What to call each part's and view's code when it blocks."""
    found: dict[CodeType, str] = {}
    for journey in journeys:
        named = [(f"part {part.name!r}", part.function) for part in journey.parts.values()]
        named += [(f"view {view.name!r}", view.function) for view in journey.views]
        for name, function in named:
            code = getattr(inspect.unwrap(function), "__code__", None)
            if code is not None:
                found[code] = f"{name} of journey {journey.name!r}"
    return found
