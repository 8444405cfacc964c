"""What a Python process of the line and its supervisor say to each other, over a socket the process is born with.

One JSON message per datagram of a Unix SOCK_SEQPACKET pair, so nothing is left on disk and either side notices
when the other is gone. The process tells: it is ready, which files it has imported, why it could not start, what
is wrong with one of its applications. The supervisor asks for its listening sockets (SCM_RIGHTS, unix(7)) and
tells it to retire once a successor has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable
from typing import Any

from tierline.errors import RunError

VARIABLE = "TIERLINE_VOICE"
"""The environment variable that holds the process's descriptor."""
MOST = 1 << 17
"""The longest message, bytes."""
_DESCRIPTORS = 250
"""The kernel's limit for one message is 253 (SCM_MAX_FD)."""


class Voice:
    """The supervisor's end. `heard(message)` is called for what the process says unasked."""

    def __init__(self, heard: Callable[[dict[str, Any]], None]) -> None:
        self._heard = heard
        self.listener: Callable[[dict[str, Any]], None] | None = None
        """Who else hears it."""
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._answer: asyncio.Future[tuple[dict[str, Any], list[int]]] | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours, self._read)

    def say(self, **message: Any) -> None:
        """Tell the process something. One that is gone hears nothing."""
        with contextlib.suppress(OSError):
            self._ours.send(json.dumps(message).encode())

    def go(self, sockets: dict[str, int], environment: dict[str, str]) -> None:
        """Tell a spare to be the process now, with these listening sockets and more environment.

        Raises OSError when it is gone.
        """
        message = json.dumps({"sockets": list(sockets), "environment": environment}).encode()
        socket.send_fds(self._ours, [message], list(sockets.values()))

    async def sockets(self, within: float = 1.0) -> dict[str, int]:
        """The process's listening sockets: `host:port` → a descriptor that is the caller's to close.

        Raises RunError when it doesn't answer in time: it is blocked, or stopped.
        """
        self._answer = self._loop.create_future()
        self.say(do="sockets")
        try:
            told, descriptors = await asyncio.wait_for(self._answer, within)
        except TimeoutError:
            raise RunError(f"it did not hand its sockets over within {within:g} s: it is blocked") from None
        finally:
            self._answer = None
        return dict(zip(told["sockets"], descriptors, strict=True))

    def _read(self) -> None:
        while True:
            try:
                raw, descriptors, _, _ = socket.recv_fds(self._ours, MOST, _DESCRIPTORS)
            except BlockingIOError:
                return
            except OSError:
                raw, descriptors = b"", []
            if not raw:
                self.close()
                return
            with contextlib.suppress(ValueError):
                message = json.loads(raw)
                if "sockets" in message:
                    if self._answer is not None and not self._answer.done():
                        self._answer.set_result((message, descriptors))
                        descriptors = []
                else:
                    self._heard(message)
                    if self.listener is not None:
                        self.listener(message)
            for each in descriptors:
                os.close(each)

    def close(self) -> None:
        """Hang up. May be called twice."""
        if self._ours.fileno() >= 0:
            self._loop.remove_reader(self._ours)
            self._ours.close()
        self.theirs.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(RunError("it ended before it handed its sockets over"))
