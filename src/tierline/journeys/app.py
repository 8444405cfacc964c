"""The experience layer as an ASGI application.

request → route → client's plan → inputs checked → parts run → view → answer
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from tierline.journeys import answer, checks, sampled
from tierline.journeys.about import About, send_problem
from tierline.journeys.answer import Choice
from tierline.journeys.attendance import Attendance, Visit
from tierline.journeys.blocking import Watch, codes
from tierline.journeys.degraded import Degraded, lacks
from tierline.journeys.engine import Engine, log
from tierline.journeys.fault import CrossOrigin, JourneyError, refusal, released
from tierline.journeys.frame import Frame, frame
from tierline.journeys.metrics import counts
from tierline.journeys.pieces import PageStream
from tierline.journeys.problem import fields_of, of_error
from tierline.journeys.request import (
    Reading,
    Request,
    decode_body,
    is_own,
    parse_query,
    read_body,
    rest,
)
from tierline.journeys.routes import CLIENT, Route, Table
from tierline.journeys.run import Run
from tierline.journeys.service import DEADLINE, SAFE
from tierline.journeys.stages import Stages
from tierline.journeys.stream import Stream, form_of
from tierline.journeys.visits import Visits
from tierline.trips import record

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_NO_QUERY: dict[str, list[str]] = {}


class Gone(Exception):
    """The client went away."""


class Experience:
    """What `build` makes: an ASGI application that answers journeys."""

    def __init__(
        self, routes: list[Route], engine: Engine, transports: list[Any], reading: Reading, most_body: int
    ) -> None:
        self.routes = routes
        self.engine = engine
        self._table = Table(routes)
        self._transports = transports
        self._reading = reading
        self._most_body = most_body
        self._visits = Visits(engine, [route.journey for route in routes])
        self._started = False
        self._about = About(routes, engine)
        self._attendance = Attendance()
        self._watch = Watch(codes(route.journey for route in routes))
        self._observed: dict[str, Any] | None = None
        self._unchecked = 1
        """Requests until one has its values checked; the first has."""
        self._counts = partial(counts, engine)
        self._answered = ("experience", "journeys", engine.zone, 200)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        found, pieces = self._table.find(scope["path"])
        method: str = scope["method"]
        for route in found:
            if method in route.methods:
                break
        else:
            await self._about.answer(found, scope, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        loop = asyncio.get_running_loop()
        span: record.Span | None = None
        began = 0
        traceparent = headers.get(b"traceparent")
        if traceparent is not None:
            span = record.parse(traceparent.decode("latin-1"))
            if span is not None:
                if span.sampled:
                    began = time.time_ns()
                    outer, span = span, record.Span(span.trace, record.span_id(), True)
                record.current.set(span)
        run: Run | None = None
        request: Request | None = None
        choice: Choice | None = None
        fields: str | None = None
        stages: Stages | None = None
        body_read: bytes | None = None
        streams = streaming = False
        status = 500
        try:
            raw = scope["query_string"]
            if raw:
                query = parse_query(raw)
                streams = "stream" in query
                fields = ",".join(query["fields"]) if "fields" in query else None
            else:
                query = _NO_QUERY
            choice = route.choose(headers, streams)
            if choice is None:
                raise self._no_view(route, headers)
            if fields is not None:
                choice = route.partial(choice, fields)
            if method not in SAFE and not is_own(headers, self._reading.origins):
                raise CrossOrigin(
                    f"a page of another site sent this {method}, and only a cookie authorises it"
                )
            form = None
            if streams and (form := form_of(headers.get(b"accept", b"").decode("latin-1"))) is None:
                raise refusal("a stream is text/event-stream or application/x-ndjson", 406)
            if choice.staged:
                kind = headers.get(CLIENT, b"web").decode("latin-1")
                request = Request(scope, headers, kind, self._reading)
                choice = route.permitted(choice, request.identity)
            plan = choice.plan
            filler = choice.filler
            if request is None and (not filler.quick or route.journey.steps):
                kind = headers.get(CLIENT, b"web").decode("latin-1")
                request = Request(scope, headers, kind, self._reading)
            values = plan.template.copy()
            if filler.sole is None:
                filler.fill(values, pieces, query, request)
            else:
                slot, convert = filler.sole
                try:
                    values[slot] = convert(pieces[-1])
                except ValueError:
                    filler.fill(values, pieces, query, request)
            if filler.body is not None:
                body_read = await read_body(receive, self._most_body)
                if body_read is None:
                    return
                media = headers.get(b"content-type", b"")
                values[filler.body[0]] = decode_body(body_read, filler.body[1], media)
            allowed = route.journey.deadline
            if DEADLINE in headers and (given := headers[DEADLINE]).isdigit():
                allowed = min(allowed, int(given[:9]) / 1000)
            around = Frame(loop.time() + allowed, {"headers": headers, "most": route.journey.most_calls})
            frame.set(around)
            own = span if span is not None and span.sampled else None
            if choice.staged:
                assert request is not None
                stages = Stages(self.engine, route, choice, values, request, around)

                async def waits(run: Any, work: Awaitable[Any]) -> None:
                    await self._attended(run, receive, loop, work)

                await stages.run(body_read or b"", fields, own, waits)
                choice, values, around = stages.choice, stages.values, stages.around
                plan = choice.plan
                frame.set(around)
            if streams or choice.paged:
                stream = Stream(choice, form) if form is not None else PageStream(choice)
                around.shared["live"] = stream.sources()
                run = stream.run = Run(plan, values, loop, around, self.engine, own, stream.listener)
                if stages is not None:
                    run.degraded = stages.degraded
                    stream.earlier(run)
                    if stages.write is not None and (asked := stages.write.record.reply) is not None:
                        stream.headers += asked.fields(headers.get(b"x-forwarded-proto") == b"https")
                self._unchecked -= 1
                if self._observed is not None or self._unchecked <= 0:
                    stream.check = self._check
                run.begin()
                if isinstance(stream, PageStream):
                    await self._attended(stream, receive, loop, stream.first(run))
                    stream.told(run, headers)
                streaming, status = True, stream.status
                await self._attended(
                    stream, receive, loop, self._streamed(stream, run, request, stages, send)
                )
                return
            run = Run(plan, values, loop, around, self.engine, own)
            if stages is not None:
                run.degraded = stages.degraded
            run.begin()
            if run.left:
                await self._attended(run, receive, loop, run.finish())
            if run.failure is not None:
                raise run.failure.error
            self._unchecked -= 1
            if self._observed is not None or self._unchecked <= 0:
                self._check(run)
            if fields is None and run.degraded is None and choice.direct:
                body = answer.encoded(choice, run)
            else:
                body = answer.compose(choice, run, fields)
            if run.reply is None and stages is not None and stages.write is not None:
                run.reply = stages.write.record.reply
            status, reply = self._head(choice, run, body, headers)
            if stages is not None:
                stages.answered()
            if request is not None and (request.kept or route.journey.steps):
                await self._visits.answered(route.journey, request, reply)
            if status in (204, 304):
                body = b""
            elif method == "HEAD":
                # A whole body in one message: its length is the server's to tell, except where there is none.
                reply.append((b"content-length", b"%d" % len(body)))
                body = b""
            await send({"type": "http.response.start", "status": status, "headers": reply})
            await send({"type": "http.response.body", "body": body})
        except Gone:
            status = 499
        except asyncio.CancelledError:
            if run is not None:
                run.stop()
            raise
        except Exception as error:
            known = (run is not None and run.failure is not None) or (stages is not None and stages.failed)
            if not isinstance(error, JourneyError) and not known:
                log.exception("journey %s: the answer could not be made", route.journey.name)
            if streaming:
                # Its head is on the way already; all that is left is to end.
                return
            status = await self._problem(route, error, run, scope, span, send, stages, request)
            if body_read is None and method not in SAFE and status < 500:
                await rest(receive)
            released(error)
        finally:
            if request is not None and request.kept:
                self.engine.let_go(request)
            if began and span is not None:
                sampled.answered(route, self.engine.zone, outer, span, began, status, run)
            elif status == 200:
                record.recorder.counts[self._answered] += 1
            else:
                record.recorder.count("experience", "journeys", self.engine.zone, status)

    async def _other(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _streamed(
        self, stream: Stream, run: Run, request: Request | None, stages: Stages | None, send: Send
    ) -> None:
        """The parts run while the visitor is looked up; what is told to the visitor goes with the head."""
        journey = run.plan.journey
        if request is not None:
            await self._visits.opens(journey, request, stream.headers)

            async def closes() -> None:
                whole = not (stream.problems or run.stopped)
                if whole and stages is not None:
                    stages.answered()
                await self._visits.closes(journey, request, whole=whole)

            await stream.send(run, send, closes)
        else:
            await stream.send(run, send)

    async def _attended(
        self, run: Run | Stream, receive: Receive, loop: asyncio.AbstractEventLoop, work: Awaitable[None]
    ) -> None:
        """Waits for the run, and from a moment on watches whether the client is still there."""
        visit = Visit(run, receive)
        self._attendance.enter(visit, loop)
        try:
            await work
        finally:
            self._attendance.leave(visit)
        if visit.gone:
            raise Gone

    def _head(
        self, choice: Choice, run: Run, body: bytes, headers: dict[bytes, bytes]
    ) -> tuple[int, answer.Headers]:
        """Status and headers of an answer, all but its length."""
        reply = choice.headers.copy()
        if not choice.static:
            reply.append((b"surrogate-key", choice.surrogates(run.values)))
        status = 200
        alone = run.degraded is not None and lacks(run.degraded)
        if run.reply is not None:
            own = run.reply.fields(headers.get(b"x-forwarded-proto") == b"https")
            reply += own
            status = run.reply.status
            alone = alone or status != 200 or any(name == b"set-cookie" for name, _ in own)
        if run.degraded is not None:
            reply.append((answer.DEGRADED, ", ".join(run.degraded).encode()))
        if alone:
            reply[1] = (b"cache-control", b"no-store")
        elif choice.kept:
            life = min(run.life, run.frame.shared.get("life", run.life))
            if life < choice.age > 0:
                # A part's copy has been here for a while: what is left is `max-age` less `Age` (RFC 9111, 4.2).
                reply.append((b"age", b"%d" % math.ceil(choice.age - life)))
            etag = answer.tag(body)
            reply.append((b"etag", etag))
            if b"if-none-match" in headers and answer.matches(headers[b"if-none-match"], etag):
                return 304, reply
        return status, reply

    def _check(self, run: Run) -> None:
        """In tests each request's values, else those of one in a few hundred."""
        strict = self._observed is not None
        self._unchecked = random.randint(1, 2 * checks.SHARE)  # noqa: S311  guards nothing
        if self._observed is not None:
            self._observed.update({node.name: run.values[node.slot] for node in run.plan.every})
        self.engine.checks.parts(run, strict=strict)
        run.checked = partial(self.engine.checks.view, run.plan, strict=strict)

    @contextlib.contextmanager
    def observed(self, parts: dict[str, Any]) -> Iterator[None]:
        """Puts the parts' values of a request into `parts`: for tests."""
        self._observed = parts
        try:
            yield
        finally:
            self._observed = None

    def _no_view(self, route: Route, headers: Mapping[bytes, bytes]) -> JourneyError:
        kind = headers.get(CLIENT, b"web").decode("latin-1")
        kinds = [name.decode() for name in route.choices]
        error = JourneyError(status=406, clients=kinds, media=route.media)
        error.slug, error.title = "no-such-view", "No such view"
        if kind not in kinds:
            error.detail = f"{kind[:60]!r} is no kind of client; there are: {', '.join(kinds)}"
        else:
            error.detail = f"{route.journey.name} answers {kind} with: {', '.join(route.media)}"
        return error

    async def _problem(
        self,
        route: Route,
        error: Exception,
        run: Run | None,
        scope: Any,
        span: record.Span | None,
        send: Send,
        stages: Stages | None,
        request: Request | None,
    ) -> int:
        failure = run.failure if run is not None else None
        failed = failure.node.name if failure is not None else stages.failed if stages is not None else ""
        status, body = of_error(
            error,
            instance=scope["path"],
            journey=route.journey.name,
            part=failed,
            trace_id=span.trace if span is not None else "",
            effects=stages.done if stages is not None else [],
            degraded=_earlier(run, stages),
        )
        fields = fields_of(error) + ([] if request is None else self._visits.begun(request))
        await send_problem(send, status, body, scope["method"] == "HEAD", fields)
        return status

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:
                    log.exception("the experience layer could not start")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        """Starts the applications that are called in this process."""
        if not self._started:
            self._started = True
            await asyncio.gather(*(transport.open() for transport in self._transports))
            # What is here now stays: the collector need not look through it again and again.
            gc.collect()
            gc.freeze()
            self._watch.start()
            record.recorder.counts_of(self._counts)

    async def drop(self, *tags: str) -> None:
        """Makes what is stored with one of these tags old: `await application.drop("products:7", "films")`."""
        await self.engine.drop(tags)

    async def stop(self) -> None:
        """Lets cancelled parts unwind, then closes connections and stores."""
        self._watch.stop()
        await self.engine.close()
        await asyncio.gather(*(transport.close() for transport in self._transports), return_exceptions=True)
        record.recorder.forget(self._counts)


def _earlier(run: Run | None, stages: Stages | None) -> list[Degraded]:
    """The parts that something stood in for before the request failed."""
    found = (run is not None and run.degraded) or (stages is not None and stages.degraded) or {}
    return list(found.values())
