"""`?stream`: parts are sent as they finish, as server-sent events or as lines of JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tierline.journeys.answer import DEGRADED, Choice, Headers, told
from tierline.journeys.encoding import plain
from tierline.journeys.fault import JourneyError, WrongType
from tierline.journeys.negotiate import best_media
from tierline.journeys.plan import Node
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
    """Sends one run. `listener` is given to the Run; `send` ends when all parts have been sent.

    A client with a view of its own gets only the names of the parts as they finish, then its view: the parts
    may hold what the view leaves out. `@journey.view(…, stream=True)` sends the parts themselves.
    """

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
        self.headers: Headers = [
            (b"content-type", form.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"vary", b"x-client, accept"),
        ]

    def listener(self, node: Node, value: Any, error: BaseException | None) -> None:
        if error is not None and not self._degraded(node):
            self.problems += 1
            status, document = of_error(error, part=node.name)
            self._put("problem", {"part": node.name, "status": status, "problem": msgspec.Raw(document)})
            return
        if node.name not in self._shown or (value is None and node.absent):
            return
        event: dict[str, Any] = {"part": node.name}
        if self._raw:
            event["value"] = value
        missing = self.run.degraded if self.run is not None else None
        if missing is not None and node.name in missing:
            event["degraded"] = [missing[node.name]]
        self._put("part", event)

    def earlier(self, run: Run) -> None:
        """The parts that are there already: effects, what they needed, and what stands in for others."""
        runs = {node.name for node in run.plan.nodes}
        for name in run.plan.shown:
            value = run.values[run.plan.slots[name]]
            if name not in runs and not (value is None and name in run.plan.absent):
                event: dict[str, Any] = {"part": name}
                if self._raw:
                    event["value"] = run.values[run.plan.slots[name]]
                if run.degraded is not None and name in run.degraded:
                    event["degraded"] = [run.degraded[name]]
                self._put("part", event)

    def _degraded(self, node: Node) -> bool:
        from tierline.journeys.policy import MISSING

        return node.part.policy.fallback is not MISSING

    def _put(self, kind: str, event: dict[str, Any]) -> None:
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
            self._ready.append(b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n")
        else:
            self._ready.append(b'{"event":"' + kind.encode() + b'",' + data[1:] + b"\n")
        self._wake.set()

    async def send(self, run: Run, send: Send, closes: Callable[[], Awaitable[None]] | None = None) -> None:
        """Head, parts as they come, and a last event that says how it went.

        closes: done between the last part and that event, so that who has seen the end finds what it has left behind.
        """
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        finishing = asyncio.ensure_future(run.finish())
        finishing.add_done_callback(lambda _: self._wake.set())
        try:
            while True:
                ended = finishing.done()
                await self._flush(send)
                if ended:
                    break
                await self._wake.wait()
                self._wake.clear()
            if self.check is not None and not self.problems:
                self._checked(self.check, run)
            if not self._raw and not self.problems:
                self._view(run)
            if closes is not None:
                await self._flush(send)
                await closes()
            self._put("end", {"degraded": told(run), "skipped": sorted(run.skipped or ())})
            await self._flush(send)
        finally:
            # Run and listener know each other: what the parts held must not wait for the garbage collector.
            self.run = None
            if not finishing.done():
                finishing.cancel()
                run.stop()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

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

    def _view(self, run: Run) -> None:
        plan = self._choice.plan
        run.values[plan.slots["degraded"]] = told(run)
        try:
            body = plan.finish(run.values)
            if run.checked is not None:
                run.checked(body)
            self._put("view", {"value": body})
        except Exception as error:
            known = (
                error
                if isinstance(error, JourneyError)
                else JourneyError(f"the view raised {type(error).__name__}")
            )
            status, document = of_error(known)
            self._put("problem", {"part": "", "status": status, "problem": msgspec.Raw(document)})


__all__ = ["DEGRADED", "EVENTS", "LINES", "Stream", "form_of"]
