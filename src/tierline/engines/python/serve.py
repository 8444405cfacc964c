"""Serving: one Granian listener per application, all on this process's one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from tierline.engines.python.apps import Loaded
from tierline.engines.python.config import Config
from tierline.trips import record

_FLUSH_EVERY = 0.04
"""Seconds between two writes of hops: short, so that a trip can be shown at once."""


class Servers:
    """The listeners of one process."""

    def __init__(self, loaded: Sequence[Loaded], config: Config) -> None:
        self._loaded = loaded
        self._config = config
        self._servers: list[Any] = []

    async def serve(self, stop: asyncio.Event) -> None:
        """Listen until a listener ends; hops are flushed all the while."""
        from granian.constants import Interfaces
        from granian.server.embed import Server

        logging.getLogger("_granian").setLevel(logging.WARNING)
        for each in self._loaded:
            server = Server(
                each.app, address=each.told.host, port=each.told.port, interface=Interfaces.ASGINL,
                log_access=False, websockets=True, backlog=2048,
            )  # fmt: skip
            self._servers.append(server)
        tasks = [asyncio.create_task(server.serve()) for server in self._servers]
        tasks.append(asyncio.create_task(self._flush()))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            for task in done:
                task.result()

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_EVERY)
            record.recorder.flush()

    async def drain(self) -> None:
        """Stop listening, then let running requests finish, a second at most."""
        for server in self._servers:
            server.stop()
        deadline = asyncio.get_running_loop().time() + 1.0
        while any(getattr(each.app, "running", 0) for each in self._loaded):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(0.01)
