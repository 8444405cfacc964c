"""A WSGI application as ASGI: a2wsgi, with a body that is whole or an error.

a2wsgi takes a client that leaves for the end of its body, so that half an upload would be stored as if it were whole
(RFC 9112, 8), and its `readline(limit)` says that the body is over while nothing has come yet.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any


def asgi(app: Any) -> Any:
    """Its threads wait for bodies as coroutines, and Granian's `receive` only makes a future."""
    from a2wsgi import WSGIMiddleware

    def reading(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"]
        environ["wsgi.input"] = io.BufferedReader(_Body(body.receive, body.loop))
        return app(environ, start_response)

    inner = WSGIMiddleware(reading)

    async def called(scope: Any, receive: Any, send: Any) -> None:
        async def received() -> Any:
            return await receive()

        await inner(scope, received, send)

    return called


class _Body(io.RawIOBase):
    """A request's body as it comes. Reading what a client that left has not sent raises ConnectionResetError."""

    def __init__(self, receive: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._receive, self._loop = receive, loop
        self._left, self._more = memoryview(b""), True

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._left and self._more:
            message = asyncio.run_coroutine_threadsafe(self._receive(), self._loop).result()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client left before its body had ended")
            self._more = message.get("more_body", False)
            self._left = memoryview(message.get("body", b""))
        size = min(len(into), len(self._left))
        into[:size], self._left = self._left[:size], self._left[size:]
        return size
