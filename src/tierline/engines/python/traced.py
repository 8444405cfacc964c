"""The hop of an application: trace context in, one hop out, and a count for what isn't sampled."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, ClassVar

from tierline.engines.python import flying
from tierline.engines.python.forwarded import described, identified
from tierline.engines.python.framing import UNKNOWN, declared, held
from tierline.engines.python.lasting import Lasting
from tierline.engines.python.meter import Meter
from tierline.journeys.frame import Frame, frame
from tierline.journeys.service import DEADLINE
from tierline.resources.calling import here as neighbours
from tierline.trips import record
from tierline.trips.hop import Hop

if TYPE_CHECKING:
    from tierline.engines.python.watch import Watch

_now = time.time_ns
_clock = time.perf_counter_ns


class Traced:
    """Wraps an ASGI application. `system` None: the application records its own hops (the journeys).
    `health`: a path answered here, for applications that have none of their own. `proof`: what tiers of the line show.
    `checked`: the path of the application's own health check, whose answers aren't counted as errors. Those that come
    from no tier (they carry no trace) are probes, and aren't counted as requests either."""

    closing: ClassVar[bool] = False
    """This process has a successor: each answer asks its client to connect anew (RFC 9112, section 9.6), and
    caches not to keep what the code before said."""

    watch: ClassVar[Watch | None] = None
    """Who blocked the event loop of this process."""

    def __init__(
        self, app: Any, name: str, system: str | None, health: str = "", proof: str = "", checked: str = ""
    ) -> None:
        self._app = app
        self.name = name
        self._system = system
        self._health, self._checked = health, checked
        self._proof = proof.encode()
        self._zone = os.environ.get("TIERLINE_ZONE", "")
        self.running = 0
        """Requests being answered now."""
        self.meter = Meter()
        self.failed = 0
        """Answers of 500 and above."""
        self.last = ""
        """The first line of the last one's error."""
        self.lasting = Lasting()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                described(scope, self._proof)
                await self.lasting.websocket(self._app, scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        if not scope["path"]:
            # A CONNECT names a host, no path; a 2xx would say that there is a tunnel (RFC 9110, 9.3.6).
            await _say(send, 501, b"no tunnels\n")
            return
        if scope["path"] == self._health:
            await _say(send, 200, b"ok\n")
            return
        if self._system is None and self._proof:
            # Journeys take what the line's gateway says for the caller's identity.
            identified(scope, self._proof)
        if not described(scope, self._proof):
            await _say(send, 400, b"a request names one Host\n")
            return
        if Traced.closing:
            send = _closing(send)
        if neighbours.used:
            _carried(scope["headers"])
        span = None
        for name, value in scope["headers"]:
            if name == b"traceparent":
                span = record.parse(value.decode("latin-1"))
                break
        self.running += 1
        slot = flying.flying.enter(self.name, f"{scope['method']} {scope['path']}")
        sampled_at = _now() if span is not None and span.sampled else 0
        began = _clock()
        try:
            if self._system is None:
                await self._app(scope, receive, self._seen(scope, send))
            elif span is None and scope["path"] == self._checked:
                await self._app(scope, receive, send)
            elif span is None or not span.sampled:
                await self._counted(scope, receive, send)
            else:
                await self._hop(span, scope, receive, send)
        except SystemExit as error:
            # One application's wish to end isn't the others': it fails this request only.
            raise RuntimeError(f"{self.name}: sys.exit({error.code}) while it was answering") from error
        finally:
            flying.flying.leave(slot)
            self.running -= 1
            self.meter.observe(_clock() - began)
            if sampled_at and span is not None and Traced.watch is not None:
                self._held_up(span, sampled_at)

    def _held_up(self, span: record.Span, began: int) -> None:
        """A hop of its own for the time in which nothing could run, whoever was to blame."""
        blocked = Traced.watch.during(began) if Traced.watch is not None else None
        if blocked is not None:
            start, end, who = blocked
            record.recorder.write(
                Hop(
                    trace=span.trace, span=record.span_id(), parent=span.span, status=0,
                    tier="experience" if self._system is None else "feature", system="event loop", zone=self._zone,
                    start_us=start // 1000, duration_us=(end - start) // 1000,
                    verdict=f"blocked by {who.app or 'an application'}", name=str(who),
                )
            )  # fmt: skip

    def _seen(self, scope: Any, send: Any) -> Any:
        length, method = UNKNOWN, scope["method"]

        async def watched(message: Any) -> None:
            nonlocal length
            if message["type"] == "http.response.start":
                length = declared(message, method)
                if message["status"] >= 500:
                    self._erred(scope, message["status"])
            elif length != UNKNOWN:
                held(message, length)
                length = UNKNOWN
            await send(message)

        return watched

    def _erred(self, scope: Any, status: int, error: Exception | None = None) -> None:
        if scope["path"] == self._checked:
            return
        self.failed += 1
        said = (
            f"{type(error).__name__}: {error}".splitlines()[0][:200]
            if error is not None
            else f"answered {status}"
        )
        self.last = f"{scope['method']} {scope['path'][:100]}: {said}"

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        status, length, method = 500, UNKNOWN, scope["method"]

        async def watched(message: Any) -> None:
            nonlocal status, length
            if message["type"] == "http.response.start":
                length = declared(message, method)
                status = message["status"]
                self.lasting.streams(message, send)
            elif length != UNKNOWN:
                held(message, length)
                length = UNKNOWN
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            self._erred(scope, 500, error)
            status = 0
            raise
        finally:
            if status >= 500:
                self._erred(scope, status)
            status = status or 500
            self.lasting.ended(send)
            record.recorder.count("feature", self.name, self._zone, status)

    async def _hop(self, parent: record.Span, scope: Any, receive: Any, send: Any) -> None:
        status, length, method = 500, UNKNOWN, scope["method"]
        began = _now()
        mine = record.Span(parent.trace, record.span_id(), True)
        token = record.current.set(mine)

        async def watched(message: Any) -> None:
            nonlocal status, length
            if message["type"] == "http.response.start":
                length = declared(message, method)
                status = message["status"]
                self.lasting.streams(message, send)
            elif length != UNKNOWN:
                held(message, length)
                length = UNKNOWN
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            self._erred(scope, 500, error)
            status = 0
            raise
        finally:
            if status >= 500:
                self._erred(scope, status)
            status = status or 500
            self.lasting.ended(send)
            record.current.reset(token)
            record.recorder.write(
                Hop(
                    status=status,
                    trace=parent.trace,
                    span=mine.span,
                    parent=parent.span,
                    tier="feature",
                    system=self.name,
                    zone=self._zone,
                    start_us=began // 1000,
                    duration_us=(_now() - began) // 1000,
                    verdict="answered" if status < 500 else "failed",
                    name=f"{scope['method']} {scope['path']}",
                )
            )


async def _say(send: Any, status: int, body: bytes) -> None:
    head = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _carried(headers: Any) -> None:
    """What calls to other services take along: the deadline, and the trace also where it isn't sampled.

    The request has a task, and so a context, of its own.
    """
    for name, value in headers:
        if name == b"traceparent":
            record.current.set(record.parse(value.decode("latin-1")))
        elif name == DEADLINE and value.isdigit():
            frame.set(Frame(asyncio.get_running_loop().time() + int(value[:9]) / 1000, {}))


def _closing(send: Any) -> Any:
    async def told(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [each for each in message.get("headers", ()) if each[0].lower() != b"cache-control"]
            message["headers"] = [*headers, (b"cache-control", b"no-store"), (b"connection", b"close")]
        await send(message)

    return told


class Entered:
    """A neighbour's application as the journeys of the same process call it: noted under its own name."""

    def __init__(self, app: Any, name: str) -> None:
        self._app = app
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        slot = flying.flying.enter(self.name, f"{scope['method']} {scope['path']}")
        try:
            await self._app(scope, receive, send)
        except SystemExit as error:
            raise RuntimeError(f"{self.name}: sys.exit({error.code}) while it was answering") from error
        finally:
            flying.flying.leave(slot)
