"""An ASGI application called in the same process: no socket, no parser, no copy."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any
from urllib.parse import unquote

from tierline.journeys.attempt import attempt
from tierline.journeys.fault import DeadlineExceeded, ServiceError, TooLarge
from tierline.journeys.frame import frame
from tierline.journeys.service import Call, ServiceReply, Transport
from tierline.trips import record
from tierline.trips.record import current, hop

log = logging.getLogger("tierline.journeys")

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[Any]]

_VERSION = {"version": "3.0", "spec_version": "2.3"}


class _Exchange:
    """One request and its reply, as the `receive` and `send` of ASGI."""

    __slots__ = ("body", "chunks", "headers", "left", "most", "name", "status")

    headers: list[tuple[bytes, bytes]]

    def __init__(self, name: str, call: Call) -> None:
        self.name = name
        self.body: bytes | None = call.body
        self.left = self.most = call.most
        self.status = 0
        self.chunks: bytes | list[bytes] = b""

    async def receive(self) -> Message:
        body, self.body = self.body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        # The caller is gone when its part is cancelled, and that cancels the application too.
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            chunk = message.get("body", b"")
            if chunk:
                self.left -= len(chunk)
                if self.left < 0:
                    raise TooLarge(
                        f"{self.name}: its reply is larger than {self.most} bytes", service=self.name
                    )
                if not self.chunks:
                    self.chunks = chunk
                elif isinstance(self.chunks, list):
                    self.chunks.append(chunk)
                else:
                    self.chunks = [self.chunks, chunk]
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = message.get("headers", [])


class InProcess(Transport):
    """To an ASGI application in this process. Its lifespan is run by `open` and `close`.

    tier: what its hops are called in a trip.
    lifespan: False when somebody else starts and stops the application; `state` is then its lifespan's state.
    observe: told how many nanoseconds each call took.
    """

    def __init__(
        self,
        app: App,
        name: str = "service",
        *,
        tier: str = "feature",
        zone: str = "",
        lifespan: bool = True,
        state: dict[str, Any] | None = None,
        observe: Callable[[int], None] | None = None,
    ) -> None:
        self._app = app
        self._observe = observe
        self._name = name
        self._tier = tier
        self._zone = zone or os.environ.get("TIERLINE_ZONE", "")
        self._has_lifespan = lifespan
        self._state: dict[str, Any] = {} if state is None else state
        self._lifespan: asyncio.Task[None] | None = None
        self._stopping: asyncio.Event | None = None
        self._base: dict[str, Any] = {
            "type": "http",
            "asgi": _VERSION,
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
            "server": (name, 80),
            "client": ("127.0.0.1", 0),
        }
        self._host = (b"host", name.encode())
        self._answered = (tier, name, self._zone, 200)

    def request(self, call: Call) -> Coroutine[Any, Any, ServiceReply]:
        span = current.get()
        kept = span is not None and span.sampled
        return self._recorded(call) if kept else self._call(call, counted=True)

    async def _recorded(self, call: Call) -> ServiceReply:
        with hop(
            self._tier, self._name, name=f"{call.method} {call.target.partition('?')[0]}", verdict="fused"
        ) as here:
            here.zone = self._zone
            mine = current.get()
            if mine is not None:
                given = mine.traceparent.encode()
                call.headers = [(k, given if k == b"traceparent" else v) for k, v in call.headers]
            reply = await self._call(call, counted=False)
            here.status = reply.status
            return reply

    async def _call(self, call: Call, *, counted: bool) -> ServiceReply:
        scope = self._base.copy()
        body = call.body
        path, _, query = call.target.partition("?")
        scope["method"] = call.method
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = path.encode()
        scope["query_string"] = query.encode()
        scope["headers"] = headers = [*call.headers, self._host]
        if body:
            headers.append((b"content-length", b"%d" % len(body)))
        scope["state"] = self._state.copy() if self._state else {}
        exchange = _Exchange(self._name, call)
        began = time.perf_counter_ns() if self._observe is not None else 0
        around, mine = frame.get(), attempt.get()
        if mine is not None:
            # As elsewhere, the caller's idempotency key is what its header says, and not what calls made there carry.
            attempt.set(None)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except (asyncio.CancelledError, TooLarge, DeadlineExceeded):
            raise
        except Exception as error:
            if not exchange.status:
                kind = type(error).__name__
                raise ServiceError(
                    self._name, f"it raised {kind}: {error}", told=f"it raised {kind}", reply_status=500
                ) from error
        finally:
            if frame.get() is not around:
                frame.set(around)
            if mine is not None:
                attempt.set(mine)
            if self._observe is not None:
                self._observe(time.perf_counter_ns() - began)
        if not exchange.status:
            raise ServiceError(self._name, "it ended without an answer")
        whole = exchange.chunks
        if type(whole) is not bytes:
            whole = b"".join(whole) if isinstance(whole, list) else bytes(whole)
        if counted:
            # `count` of the recorder, written out.
            key = self._answered if exchange.status == 200 else (*self._answered[:3], exchange.status)
            record.recorder.counts[key] += 1
        return ServiceReply(exchange.status, exchange.headers, whole)

    async def streamed(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]], receive: Any, send: Any
    ) -> None:
        """A request whose body and reply are ASGI messages, passed on as they come."""
        path, _, query = target.partition("?")
        with hop(self._tier, self._name, name=f"{method} {path}", verdict="fused", zone=self._zone) as here:

            async def sent(message: Any) -> None:
                if message["type"] == "http.response.start":
                    here.status = message["status"]
                await send(message)

            await self._app(self._scope(method, path, query, record.carried(headers)), receive, sent)

    def _scope(
        self, method: str, path: str, query: str, headers: list[tuple[bytes, bytes]]
    ) -> dict[str, Any]:
        return {
            **self._base,
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [*headers, self._host],
            "state": self._state.copy(),
        }

    async def open(self) -> None:
        """Runs the application's start-up, when it has one. Raises ServiceError when that fails."""
        if self._lifespan is not None or not self._has_lifespan:
            return
        loop = asyncio.get_running_loop()
        started: asyncio.Future[None] = loop.create_future()
        self._stopping = asyncio.Event()
        self._lifespan = asyncio.ensure_future(self._live(started, self._stopping))
        await started

    async def _live(self, started: asyncio.Future[None], stopping: asyncio.Event) -> None:
        told = False

        async def receive() -> Message:
            nonlocal told
            if not told:
                told = True
                return {"type": "lifespan.startup"}
            await stopping.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Message) -> None:
            if started.done():
                return
            if message["type"] == "lifespan.startup.complete":
                started.set_result(None)
            elif message["type"] == "lifespan.startup.failed":
                why = message.get("message", "")
                started.set_exception(ServiceError(self._name, f"its start-up failed: {why}"))

        try:
            await self._app({"type": "lifespan", "asgi": _VERSION, "state": self._state}, receive, send)
        except Exception as error:
            # An application that knows no lifespan raises; ASGI says to go on without.
            log.debug("%s has no lifespan: %r", self._name, error)
        finally:
            if not started.done():
                started.set_result(None)

    async def close(self) -> None:
        """Runs the application's shutdown."""
        task, self._lifespan = self._lifespan, None
        if task is None or self._stopping is None:
            return
        self._stopping.set()
        try:
            await asyncio.wait_for(task, 10)
        except TimeoutError:
            task.cancel()
