"""Serving: one Granian listener per application, all on this process's one event loop.

The listening sockets are made here, or come from the process that this one succeeds: then both accept from the
same queue until the older one retires, and no connection is refused or lost in between.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from tierline.engines import steady
from tierline.engines.python.apps import Loaded, answered
from tierline.engines.python.config import Config
from tierline.engines.python.function import Worker
from tierline.engines.python.traced import Traced
from tierline.engines.python.voice import Voice, elsewhere, imported
from tierline.trips import record

_FLUSH_EVERY = 0.04
"""Seconds between two writes of hops: short, so that a trip can be shown at once."""
_LOAD_EVERY = 0.5
"""Seconds between two messages to the supervisor of how much each application has done."""
_BACKLOG = 2048
_LEAVES = 0.05
"""Seconds for the end of a stream to reach its client."""
_TURN_OVER = 0.1
"""Seconds in which a retiring process asks its clients, with each answer, to connect anew."""


def listening(config: Config) -> dict[str, socket.socket]:
    """A listening socket per address: those that were handed over (`TIERLINE_LISTEN`), the others new."""
    given = json.loads(os.environ.pop("TIERLINE_LISTEN", "{}"))
    found = {}
    for app in config.apps:
        name = f"{app.host}:{app.port}"
        if name in given:
            made = socket.socket(fileno=given.pop(name))
        else:
            made = socket.socket(socket.AF_INET6 if ":" in app.host else socket.AF_INET)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # An application that moves to a process of its own listens there before it stops here.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind((app.host, app.port))
        made.setblocking(False)
        found[name] = made
    for descriptor in given.values():  # an application that is no longer here
        os.close(descriptor)
    return found


class Servers:
    """The listeners of one process."""

    def __init__(self, loaded: Sequence[Loaded], config: Config, voice: Voice) -> None:
        self._loaded = loaded
        self._config = config
        self._voice = voice
        self._servers: list[Any] = []
        self.sockets = listening(config)

    async def serve(self, stop: asyncio.Event) -> None:
        """Listen until a listener ends; hops are flushed all the while."""
        from granian._granian import SocketHolder
        from granian.constants import Interfaces
        from granian.server.embed import Server

        hold: Any = SocketHolder

        class Listener(Server):
            """Granian's server on a socket that exists already."""

            holder: Any

            def _init_shared_socket(self) -> None:
                self._ssp, self._shd = None, self.holder

        logging.getLogger("_granian").setLevel(logging.WARNING)
        for each, mine in zip(self._loaded, self._mine(), strict=True):
            server = Listener(
                each.app, address=each.told.host, port=each.told.port, interface=Interfaces.ASGINL,
                log_access=False, websockets=True, backlog=_BACKLOG,
            )  # fmt: skip
            mine.listen(_BACKLOG)
            server.holder = hold(mine.fileno(), False, _BACKLOG)
            self._servers.append(server)
        tasks = [asyncio.create_task(server.serve()) for server in self._servers]
        tasks.append(asyncio.create_task(self._flush()))
        await asyncio.sleep(0)
        self._voice.say(ready=True, files=imported(self._config.project))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            for task in done:
                task.result()

    def _mine(self) -> list[socket.socket]:
        return [self.sockets[f"{each.told.host}:{each.told.port}"] for each in self._loaded]

    async def _flush(self) -> None:
        import sys

        loop = asyncio.get_running_loop()
        known, look_at = len(sys.modules) + len(elsewhere), loop.time() + 1
        load_at = 0.0
        while True:
            await asyncio.sleep(_FLUSH_EVERY)
            record.recorder.flush()
            if record.recorder.lost:
                self._voice.say(lost=record.recorder.lost, problem=record.recorder.problem)
                record.recorder.lost = 0
            if steady.lost:
                self._voice.say(unlogged=steady.lost)
                steady.lost = 0
            if loop.time() >= load_at:
                load_at = loop.time() + _LOAD_EVERY
                load = {each.told.name: each.app.meter.told() for each in self._loaded}
                self._voice.say(load=load, pid=os.getpid(), at=time.monotonic())
                traced = {each.told.name: each.app for each in self._loaded if isinstance(each.app, Traced)}
                if failed := {name: (app.failed, app.last) for name, app in traced.items() if app.failed}:
                    self._voice.say(failed_answers=failed, pid=os.getpid())
                if called := answered():
                    self._voice.say(called=called, pid=os.getpid())
            if loop.time() >= look_at:
                look_at = loop.time() + 1
                if len(sys.modules) + len(elsewhere) != known:
                    known = len(sys.modules) + len(elsewhere)
                    self._voice.say(files=imported(self._config.project))

    async def turn_over(self) -> None:
        """A successor accepts, too: with its next answer each client is asked to connect anew."""
        Traced.closing = True
        for each in self._loaded:
            if isinstance(each.app, Worker):
                each.app.quiet()  # the successor fetches
        await asyncio.sleep(_TURN_OVER)

    async def drain(self, within: float, code: int) -> bool:
        """Stop listening, then let running requests finish, `within` seconds at most. WebSockets are closed with the
        code at once, event streams that are left at the end. Whether all have finished."""
        for each in self._loaded:
            if isinstance(each.app, Worker):
                each.app.quiet()
        traced = [each.app for each in self._loaded if isinstance(each.app, Traced)]
        await asyncio.gather(*(each.lasting.close(code) for each in traced))
        for server in self._servers:
            server.stop()
        deadline = asyncio.get_running_loop().time() + within
        while any(each.app.running for each in self._loaded) or any(each.lasting.open for each in traced):
            if asyncio.get_running_loop().time() > deadline:
                await asyncio.gather(*(each.lasting.end() for each in traced))
                await asyncio.sleep(_LEAVES)
                return not any(each.app.running for each in self._loaded)
            await asyncio.sleep(0.01)
        return True
