"""What never ends by itself: WebSockets and event streams of a process that has to go.

A WebSocket is closed with a code that tells its client to come again (RFC 6455, section 7.4.1; 1012 is IANA's);
the application sees a disconnect. An event stream goes on as long as other answers may, and then ends after a
whole message: an EventSource comes again by itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

GOING_AWAY = 1001
RESTARTS = 1012
"""Somebody else answers at the same address already."""
_WHY = "this server restarts"
_ENDS = 1.0
"""Seconds for one client to take its end."""


class Lasting:
    """The open WebSockets and event streams of one application."""

    def __init__(self) -> None:
        self._sockets: set[_Socket] = set()
        self._streams: set[Any] = set()
        self._code = 0

    @property
    def open(self) -> int:
        """WebSockets whose application has not returned yet."""
        return len(self._sockets)

    async def websocket(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        """Serve one."""
        each = _Socket(receive, send)
        self._sockets.add(each)
        if self._code:
            each.code = self._code
        try:
            await app(scope, each.receive, each.send)
        finally:
            self._sockets.discard(each)

    def streams(self, message: Any, send: Any) -> None:
        """Remember an answer when its start says that it is an event stream."""
        for name, value in message.get("headers", ()):
            if name == b"content-type":
                if value.startswith(b"text/event-stream"):
                    self._streams.add(send)
                return

    def ended(self, send: Any) -> None:
        self._streams.discard(send)

    async def close(self, code: int) -> None:
        """Ask all clients of WebSockets to go, also those that come yet."""
        self._code = code
        await _all(each.close(code) for each in list(self._sockets))

    async def end(self) -> None:
        """End event streams as if their applications had."""
        streams, self._streams = self._streams, set()
        await _all(send({"type": "http.response.body", "body": b"", "more_body": False}) for send in streams)


class _Socket:
    def __init__(self, receive: Any, send: Any) -> None:
        self._receive = receive
        self._send = send
        self._accepted = False
        self._told: asyncio.Event | None = None
        """Set once its client was told to go; None before anybody wanted that."""
        self._pending: asyncio.Future[Any] | None = None
        self.code = 0

    async def receive(self) -> Any:
        """What the client sends, or that it has gone."""
        if self._told is None:
            # While Granian waits for the client it sends no close, so the wait must be one that can be given up.
            self._pending = asyncio.ensure_future(self._receive())
            try:
                return await self._pending
            except asyncio.CancelledError:
                if self._told is None:
                    raise
            finally:
                self._pending = None
        await self._told.wait()  # who returns before makes another end of it
        return {"type": "websocket.disconnect", "code": self.code, "reason": _WHY}

    async def send(self, message: Any) -> None:
        """What the application sends. After the close there is nobody to hear it."""
        if self._told is not None:
            return
        await self._send(message)
        if message["type"] == "websocket.accept":
            self._accepted = True
            if self.code:
                await self.close(self.code)

    async def close(self, code: int) -> None:
        self.code = code
        if not self._accepted or self._told is not None:
            return
        self._told = asyncio.Event()
        try:
            if self._pending is not None:
                self._pending.cancel()
                await asyncio.sleep(0)
            await self._send({"type": "websocket.close", "code": code, "reason": _WHY})
        finally:
            self._told.set()


async def _all(steps: Any) -> None:
    tasks = [asyncio.ensure_future(step) for step in steps]
    if tasks:
        done, late = await asyncio.wait(tasks, timeout=_ENDS)
        for task in late:
            task.cancel()
        for task in done:
            task.exception()  # a client that has gone hears nothing
