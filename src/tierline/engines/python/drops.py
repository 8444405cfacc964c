"""What this process's journeys drop, told to the line, and what others have dropped."""

from __future__ import annotations

import asyncio
from typing import Any

from tierline.engines.python.voice import Voice

_MOST = 200
"""Tags of one message; more are sent one after the other."""


class Drops:
    """The journeys' `on_drop`: returns once the line has dropped the tags everywhere, or at once without a line."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._applications: list[Any] = []
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        voice.answers["dropped"] = self._answered
        voice.answers["drop"] = self._told

    def join(self, application: Any) -> None:
        """An application of this process: what it drops is told, and what others drop is dropped there."""
        self._applications.append(application)
        application.engine.on_drop = self.told

    async def told(self, tags: list[str]) -> None:
        """Whoever waits for it bounds the time."""
        for start in range(0, len(tags), _MOST):
            self._number += 1
            number = self._number
            answer = self._waiting[number] = asyncio.get_running_loop().create_future()
            try:
                if self._voice.say(drop=tags[start : start + _MOST], number=number):
                    await answer
            finally:
                self._waiting.pop(number, None)

    def _answered(self, message: dict[str, Any]) -> None:
        waiting = self._waiting.get(int(message["number"]))
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _told(self, message: dict[str, Any]) -> None:
        for application in self._applications:
            _keep(asyncio.ensure_future(application.engine.kept.drop(message["tags"])))


_tasks: set[asyncio.Future[Any]] = set()


def _keep(task: asyncio.Future[Any]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
