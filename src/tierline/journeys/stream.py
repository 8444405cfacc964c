"""Answers in pieces: parts as they finish (`?stream`), deferred ones after the first screen, live ones for as long as the
client listens; as server-sent events or as lines of JSON. Pages in pieces: pieces.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tierline.journeys.answer import DEGRADED, Choice, Headers, told
from tierline.journeys.encoding import plain
from tierline.journeys.fault import JourneyError, WrongType
from tierline.journeys.live import Source, identified, stopped
from tierline.journeys.negotiate import best_media
from tierline.journeys.plan import Node
from tierline.journeys.policy import MISSING
from tierline.journeys.problem import of_error
from tierline.journeys.run import Run

_encode = msgspec.json.Encoder(enc_hook=plain).encode
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"

Send = Callable[[dict[str, Any]], Awaitable[None]]


def form_of(accept: str) -> str | None:
    """Which of the two forms the client reads; lines when it doesn't mind, None when it reads neither."""
    return best_media(accept, (LINES, EVENTS)) if accept else LINES


class Stream:
    """Sends one run. `listener` is given to the Run; `send` ends when all parts have been sent, and live ones have ended.

    A client with a view of its own gets only the names of the parts as they finish, then its view: the parts
    may hold what the view leaves out. `@journey.view(…, stream=True)` sends the parts themselves.
    """

    status = 200

    def __init__(self, choice: Choice, form: str) -> None:
        self._choice = choice
        self._form = form
        self._shown = set(choice.plan.shown)
        self._raw = choice.view is None or choice.view.stream
        self._ready: list[bytes] = []
        self._wake: asyncio.Event = asyncio.Event()
        self.run: Run | None = None
        """What it sends."""
        self.check: Callable[[Run], None] | None = None
        """Compares the parts' values with their annotations; raises WrongType."""
        self.problems = 0
        self.gone = False
        """The client has left."""
        self.headers: Headers = [
            (b"content-type", form.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"vary", b"x-client, accept"),
        ]
        deferred = choice.plan.deferred if self._raw else frozenset()
        self._first: dict[str, Any] | None = {} if deferred else None
        """Values of the first screen, until it is sent."""
        self._awaited = {n.name for n in choice.plan.nodes if n.name in self._shown} - deferred
        self._late: list[tuple[str, dict[str, Any], bytes]] = []
        """What has finished before the first screen was sent."""
        self._finishing: asyncio.Future[None] | None = None
        self._sent = asyncio.Event()
        self._sources: dict[str, Source] = {}
        self._pumps: list[asyncio.Task[None]] = []
        self._beat = min((node.part.heartbeat for node in choice.plan.nodes if node.part.live), default=None)
        self._sole = sum(part.live for part in choice.plan.journey.parts.values()) == 1

    def sources(self) -> dict[str, Source]:
        """Where live parts leave what follows their first values."""
        return self._sources

    def listener(self, node: Node, value: Any, error: BaseException | None) -> None:
        if error is not None and node.part.policy.fallback is MISSING:
            self.problems += 1
            status, document = of_error(error, part=node.name)
            self._put("problem", {"part": node.name, "status": status, "problem": msgspec.Raw(document)})
            self._no_more(node)
        elif node.name in self._shown and not (value is None and node.absent):
            self._tell(node.name, value)
        self._awaited.discard(node.name)
        self._screen()
        if node.name in self._sources:
            self._pumps.append(asyncio.ensure_future(self._pump(node, self._sources[node.name])))

    def _no_more(self, node: Node) -> None:
        """What needs a part that has failed won't come."""
        for other in node.dependants:
            self._awaited.discard(other.name)
            self._no_more(other)

    def earlier(self, run: Run) -> None:
        """The parts that are there already: effects, what they needed, and what stands in for others."""
        runs = {node.name for node in run.plan.nodes}
        for name in run.plan.shown:
            value = run.values[run.plan.slots[name]]
            if name not in runs and not (value is None and name in run.plan.absent):
                self._tell(name, value, run)

    def _tell(self, name: str, value: Any, run: Run | None = None) -> None:
        if self._first is not None and name in self._awaited:
            self._first[name] = value
            return
        run = run or self.run
        event: dict[str, Any] = {"part": name}
        if self._raw:
            event["value"] = value
        missing = run.degraded if run is not None else None
        if missing is not None and name in missing:
            event["degraded"] = [missing[name]]
        identifier = identified(self._sources, self._sole) if name in self._sources else b""
        if self._first is not None:
            self._late.append(("part", event, identifier))
        else:
            self._put("part", event, identifier)

    def _screen(self) -> None:
        """The first screen as one event, once all of it is there."""
        if self._first is None or self._awaited:
            return
        screen, self._first = self._first, None
        if screen:
            event: dict[str, Any] = {"value": screen}
            if missing := [d for n, d in ((self.run and self.run.degraded) or {}).items() if n in screen]:
                event["degraded"] = missing
            self._put("first", event, identified(self._sources, self._sole))
        for late in self._late:
            self._put(*late)

    def _put(self, kind: str, event: dict[str, Any], identifier: bytes = b"") -> None:
        try:
            data = _encode(event)
        except (TypeError, ValueError, RecursionError) as error:
            self.problems += 1
            kind = "problem"
            data = _encode({"part": event.get("part", ""), "status": 500, "problem": {"detail": str(error)}})
        if len(data) > self._choice.plan.journey.most:
            self.problems += 1
            kind = "problem"
            why = f"its value has {len(data)} bytes"
            data = _encode({"part": event.get("part", ""), "status": 502, "problem": {"detail": why}})
        if self._form == EVENTS:
            told = b"id: " + identifier + b"\n" if identifier else b""
            self._ready.append(b"event: " + kind.encode() + b"\n" + told + b"data: " + data + b"\n\n")
        else:
            self._ready.append(b'{"event":"' + kind.encode() + b'",' + data[1:] + b"\n")
        self._wake.set()

    async def _pump(self, node: Node, source: Source) -> None:
        """What follows a live part's first value, one at a time: the next is asked for when this one has been sent."""
        try:
            async for value in source.events():
                run = self.run
                if run is None:
                    return
                if node.check is not None and not isinstance(value, node.check):
                    raise WrongType(f"part {node.name!r} returned {type(value).__name__}", part=node.name)
                run.values[node.slot] = value
                if self._raw:
                    if node.name in self._shown:
                        event = {"part": node.name, "value": value}
                        self._put("part", event, identified(self._sources, self._sole))
                elif self._finishing is not None and self._finishing.done():
                    self._view(run)
                self._sent.clear()
                if self._ready:
                    await self._sent.wait()
        except Exception as error:
            known = error if isinstance(error, JourneyError) else JourneyError(f"{type(error).__name__}")
            if self.run is not None:
                self.run.engine.failed(self.run.plan, node, error, degraded=False)
            status, document = of_error(known, part=node.name)
            self._put("problem", {"part": node.name, "status": status, "problem": msgspec.Raw(document)})
        finally:
            self._wake.set()

    def stop(self) -> None:
        """The client has left: nothing more is asked for."""
        self.gone = True
        if self.run is not None:
            self.run.stop()
        self._wake.set()

    def _finish(self, run: Run) -> asyncio.Future[None]:
        if self._finishing is None:
            self._finishing = asyncio.ensure_future(run.finish())
            self._finishing.add_done_callback(lambda _: self._wake.set())
        return self._finishing

    async def send(self, run: Run, send: Send, closes: Callable[[], Awaitable[None]] | None = None) -> None:
        """Head, parts as they come, and a last event that says how it went.

        closes: done between the last part and that event, so that who has seen the end finds what it has left behind.
        """
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        finishing = self._finish(run)
        try:
            await self._until(finishing.done, send)
            if self.gone:
                return
            self._last(run)
            await self._flush(send)
            if closes is not None:
                await closes()
            await self._until(lambda: all(pump.done() for pump in self._pumps), send)
            if self.gone:
                return
            self._end(run)
            await self._flush(send)
        finally:
            # Run and listener know each other: what the parts held must not wait for the garbage collector.
            self.run = None
            if not finishing.done():
                finishing.cancel()
                run.stop()
            if self._sources:
                await stopped(self._pumps, self._sources)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until(self, ended: Callable[[], bool], send: Send) -> None:
        """Sends what is ready until this has ended, or the client has left; a comment where nothing is for a while, so that
        no tier in between takes the connection for an idle one."""
        while not self.gone:
            over = ended()
            await self._flush(send)
            if over:
                return
            try:
                async with asyncio.timeout(self._beat):
                    await self._wake.wait()
            except TimeoutError:
                self._ready.append(b":\n\n" if self._form == EVENTS else b"\n")
            self._wake.clear()

    def _last(self, run: Run) -> None:
        """What comes when all parts are there."""
        self._awaited.clear()
        self._screen()
        if self.check is not None and not self.problems:
            self._checked(self.check, run)
        if not self._raw and not self.problems:
            self._view(run)

    def _end(self, run: Run) -> None:
        self._put("end", {"degraded": told(run), "skipped": sorted(run.skipped or ())})

    def _checked(self, check: Callable[[Run], None], run: Run) -> None:
        try:
            check(run)
        except WrongType as error:
            self.problems += 1
            status, document = of_error(error)
            event = {"part": error.extra["part"], "status": status, "problem": msgspec.Raw(document)}
            self._put("problem", event)

    async def _flush(self, send: Send) -> None:
        if self._ready:
            data, self._ready = b"".join(self._ready), []
            await send({"type": "http.response.body", "body": data, "more_body": True})
        self._sent.set()

    def _view(self, run: Run) -> None:
        plan = self._choice.plan
        run.values[plan.slots["degraded"]] = told(run)
        try:
            body = plan.finish(run.values)
            if run.checked is not None:
                run.checked(body)
            self._put("view", {"value": body}, identified(self._sources, self._sole))
        except Exception as error:
            known = (
                error
                if isinstance(error, JourneyError)
                else JourneyError(f"the view raised {type(error).__name__}")
            )
            status, document = of_error(known)
            self._put("problem", {"part": "", "status": status, "problem": msgspec.Raw(document)})


__all__ = ["DEGRADED", "EVENTS", "LINES", "Stream", "form_of"]
