"""The two streams of a passage, and the ways to a service: in this process, or over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import httpx

from tierline.journeys.fault import DeadlineExceeded, JourneyError, ServiceError, Unreachable, refusal
from tierline.journeys.http import HTTP
from tierline.journeys.inprocess import InProcess
from tierline.journeys.passage import Passage
from tierline.journeys.policy import CREDENTIALS

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_RETURNED = frozenset(
    b"content-type content-length content-encoding content-language content-disposition content-range content-digest repr-digest "
    b"digest accept-ranges etag last-modified cache-control expires age vary retry-after location allow".split()
)


_LOOKS = 1.0
"""Seconds between looks at whether a body has ended, where the service answers before that."""


class Gone(Exception):
    """The client went away."""


def too_large(passage: Passage) -> JourneyError:
    return refusal(f"the request's body is larger than {passage.most} bytes", 413)


class Body:
    """The request's body, piece by piece. `failure` is what went wrong while the service was reading it."""

    def __init__(self, passage: Passage, receive: Receive, headers: Mapping[bytes, bytes]) -> None:
        self._passage = passage
        self._receive = receive
        self._size = 0
        self._ended = False
        self.failure: Exception | None = None
        self.there = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers

    async def message(self) -> Any:
        """The next message of ASGI."""
        try:
            async with asyncio.timeout(None if self._ended else self._passage.timeout):
                message = await self._receive()
        except TimeoutError:
            self.failure = refusal("the rest of the request's body did not come in time", 408)
            raise self.failure from None
        if message["type"] == "http.disconnect":
            self.failure = Gone()
            return message
        self._size += len(message.get("body", b""))
        if self._size > self._passage.most:
            self.failure = too_large(self._passage)
            raise self.failure
        self._ended = not message.get("more_body")
        return message

    async def left(self) -> None:
        """Returns when the client has left; what it still sends of its body is for the service alone."""
        while self.there and not self._ended:
            await asyncio.sleep(_LOOKS)
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def pieces(self) -> AsyncIterator[bytes]:
        while not self._ended:
            message = await self.message()
            if self.failure is not None:
                raise self.failure
            if piece := message.get("body", b""):
                yield piece


class Reply:
    """The service's reply on its way to the client."""

    def __init__(self, passage: Passage, send: Send, head: bool, private: bool) -> None:
        self.passage = passage
        self._send = send
        self._head = head
        self._private = private
        self.status = 0

    async def begin(self, status: int, headers: Headers) -> None:
        """Sends the head. Raises ServiceError for a refusal, whose body isn't for clients."""
        kept = [(name.lower(), value) for name, value in headers if name.lower() in _RETURNED]
        if status >= 400:
            said = dict(kept)
            error = ServiceError(
                self.passage.to, f"{status}", reply_status=status, told=f"it answered {status}"
            )
            if 400 <= status < 500:
                error.status = status
            shown = (b"retry-after", b"content-range", b"allow")
            error.headers = {name.decode(): said[name].decode("latin-1") for name in shown if name in said}
            raise error
        if self._private:
            kept = [
                (name, value) for name, value in kept if name not in (b"cache-control", b"expires", b"age")
            ]
            kept.append((b"cache-control", b"private, no-cache"))
        self.status = status
        # A file that somebody has uploaded is opened in the product's own origin: an SVG or a page runs no script there.
        kept += [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"script-src 'none'")]
        await self._send({"type": "http.response.start", "status": status, "headers": kept})

    async def piece(self, data: bytes, more: bool) -> None:
        await self._send(
            {"type": "http.response.body", "body": b"" if self._head else data, "more_body": more}
        )


class Way:
    """How a service is reached."""

    def __init__(self, forward: tuple[str, ...]) -> None:
        self.forward = frozenset(name.encode("latin-1") for name in forward)
        self.private = bool(CREDENTIALS & set(forward))

    async def go(
        self, method: str, target: str, headers: Headers, body: Body, reply: Reply, idle: float
    ) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        """Closes connections."""


class Inside(Way):
    """To an application in this process."""

    def __init__(self, transport: InProcess, forward: tuple[str, ...]) -> None:
        super().__init__(forward)
        self._transport = transport

    async def go(
        self, method: str, target: str, headers: Headers, body: Body, reply: Reply, idle: float
    ) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                await reply.begin(message["status"], list(message.get("headers", ())))
            elif message["type"] == "http.response.body":
                await reply.piece(message.get("body", b""), bool(message.get("more_body")))

        try:
            await self._transport.streamed(method, target, headers, body.message, send)
        except JourneyError:
            raise
        except Exception as error:
            if body.failure is not None:
                raise body.failure from None
            kind = type(error).__name__
            raise ServiceError(
                reply.passage.to, f"it raised {kind}: {error}", told=f"it raised {kind}"
            ) from error
        if body.failure is not None and not reply.status:
            raise body.failure
        if not reply.status:
            raise ServiceError(reply.passage.to, "it ended without an answer")


class Over(Way):
    """Over HTTP, by httpx: its bodies are streams in both directions."""

    def __init__(self, transport: HTTP, forward: tuple[str, ...]) -> None:
        super().__init__(forward)
        self._transport = transport
        self._open: dict[str, httpx.AsyncHTTPTransport] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def go(
        self, method: str, target: str, headers: Headers, body: Body, reply: Reply, idle: float
    ) -> None:
        name = reply.passage.to
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._open = loop, {}
        answer: httpx.Response | None = None
        try:
            answer = await self._asked(name, method, target, headers, body, idle)
            await reply.begin(answer.status_code, answer.headers.raw)
            leaves = asyncio.ensure_future(body.left())
            try:
                async for piece in answer.aiter_raw():
                    if leaves.done():
                        raise Gone
                    await reply.piece(piece, True)
            finally:
                leaves.cancel()
            await reply.piece(b"", False)
        except (httpx.TransportError, httpx.StreamError) as error:
            if body.failure is not None:
                raise body.failure from None
            if isinstance(error, httpx.TimeoutException):
                raise DeadlineExceeded(f"{name}: nothing came for {idle:g} s") from None
            raise ServiceError(
                name, f"the connection failed: {error!r}", told="the connection failed"
            ) from None
        finally:
            if answer is not None:
                with contextlib.suppress(Exception):
                    await answer.aclose()

    async def _asked(
        self, name: str, method: str, target: str, headers: Headers, body: Body, idle: float
    ) -> httpx.Response:
        """The reply of the nearest address that accepts a connection; nothing is sent to the others."""
        content = body.pieces() if body.there else None
        while True:
            address = self._transport.nearest()
            way = self._open.get(address.where)
            if way is None:
                way = self._open[address.where] = httpx.AsyncHTTPTransport(
                    uds=address.socket or None, verify=self._transport.tls or False, trust_env=False
                )
            scheme = "https" if address.secure else "http"
            host = f"[{address.host}]" if ":" in address.host else address.host or "localhost"
            where = f"{scheme}://{host}:{address.port or 80}{address.base}{target}"
            fields = httpx.Headers([*headers, (b"host", (address.authority or name).encode("latin-1"))])
            limits = httpx.Timeout(idle, connect=5.0, pool=5.0).as_dict()
            request = httpx.Request(
                method, where, headers=fields, content=content, extensions={"timeout": limits}
            )
            try:
                return await way.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if not self._transport.refused(address):
                    raise Unreachable(name, f"{address.where}: {error}") from None

    async def close(self) -> None:
        for way in self._open.values():
            await way.aclose()
