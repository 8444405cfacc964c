"""Keeps the supervisor's background tasks alive: one that raises is reported and started again.

Nothing else in `run` starts a task that has to live as long as the line. What such a task raises is a fault of ours or of
the machine (no space, no descriptors, a folder that was removed); either way the processes still need a supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import Awaitable, Callable

_FIRST, _LONGEST = 0.1, 5.0
"""Seconds until a task that raised is started again; doubled each time."""
_SETTLED = 60.0
"""Seconds after which a task that raises again is treated as one that raised for the first time."""


class Tasks:
    """The tasks of one line. report: called with a task's name and what it raised; once per different error."""

    def __init__(self, report: Callable[[str, str], None]) -> None:
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._reported: dict[str, str] = {}

    def keep(self, name: str, make: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run `make()` to its end, however often it raises."""
        task = asyncio.create_task(self._kept(name, make), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Wait until all have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _kept(self, name: str, make: Callable[[], Awaitable[None]]) -> None:
        wait, loop = _FIRST, asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await make()
                return
            except Exception as error:
                self.fault(name, error)
            if loop.time() - began > _SETTLED:
                wait = _FIRST
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST)

    def fault(self, name: str, error: Exception) -> None:
        """Report an exception. Never raises."""
        said = f"{type(error).__name__}: {error}"
        if self._reported.get(name) == said:
            return
        self._reported[name] = said
        complain("".join(traceback.format_exception(error)))
        with contextlib.suppress(Exception):
            self._report(name, said)


def complain(text: str) -> None:
    """Write to standard error. A closed pipe or a full disk is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        print(text.rstrip(), file=sys.stderr, flush=True)
