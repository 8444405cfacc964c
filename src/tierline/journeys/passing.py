"""Answers passages: the request's body goes to the service as it comes, and so does the reply to the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tierline.errors import StackError, choices, nearest
from tierline.journeys.about import send_problem
from tierline.journeys.app import Experience
from tierline.journeys.fault import (
    CrossOrigin,
    Forbidden,
    JourneyError,
    NotFound,
    Unauthorized,
    UnsupportedMedia,
)
from tierline.journeys.http import HTTP
from tierline.journeys.inprocess import InProcess
from tierline.journeys.passage import Passage
from tierline.journeys.problem import fields_of, of_error
from tierline.journeys.request import Request, is_own, rest
from tierline.journeys.service import SAFE, ServiceClient
from tierline.journeys.target import target_of
from tierline.journeys.ways import Body, Gone, Inside, Over, Receive, Reply, Send, Way, too_large
from tierline.trips import record

log = logging.getLogger("tierline.journeys")

_SENT = frozenset(
    b"accept accept-encoding accept-language content-type content-length content-encoding content-language content-disposition "
    b"content-digest repr-digest digest range if-range if-match if-none-match if-modified-since if-unmodified-since "
    b"idempotency-key traceparent tracestate".split()
)


class Passing(Experience):
    """An experience layer with passages. Journeys come first where both have a path."""

    def __init__(self, *words: Any, passages: list[Passage], services: Mapping[str, Any]) -> None:
        super().__init__(*words)
        self._about.passages = passages
        self._ways = [(each, _way(each, services)) for each in passages]

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
            matching = [(each, way, v) for each, way in self._ways if (v := each.match(raw)) is not None]
            if matching:
                method = "GET" if scope["method"] == "HEAD" else scope["method"]
                routes, _ = self._table.find(scope["path"])
                if not any(scope["method"] in route.methods for route in routes):
                    for passage, way, values in matching:
                        if method in passage.methods:
                            await self._recorded(passage, way, values, scope, receive, send)
                            return
                    if not routes:
                        allowed = ", ".join(sorted({m for each, _, _ in matching for m in each.methods}))
                        error = JourneyError(f"allowed: {allowed}", status=405, headers={"allow": allowed})
                        error.slug, error.title = "method-not-allowed", "Not answered with this method"
                        await self._refused(matching[0][0], error, scope, send)
                        return
        await super().__call__(scope, receive, send)

    async def _recorded(
        self, passage: Passage, way: Way, values: dict[str, str], scope: Any, receive: Receive, send: Send
    ) -> None:
        """A hop of a trip, else a number."""
        told = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
        span, zone = record.parse(told), self.engine.zone
        record.current.set(span)
        what = f"passage {passage.name}"
        with record.hop("experience", "journeys", name=what, verdict="passed", zone=zone) as here:
            await self._passed(passage, way, values, scope, receive, send, here)
        if span is None or not span.sampled:
            record.recorder.count("experience", "journeys", zone, here.status)

    async def _passed(
        self,
        passage: Passage,
        way: Way,
        values: dict[str, str],
        scope: Any,
        receive: Receive,
        send: Send,
        here: record.hop,
    ) -> None:
        begun = False

        async def begins(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        status = 500
        try:
            headers = self._admitted(passage, scope)
            try:
                target = target_of(passage.at, {name: unquote(value) for name, value in values.items()
                                                if f"{{{name}}}" in passage.at})  # fmt: skip
            except ValueError:
                raise NotFound("there is no such file") from None
            if scope["query_string"]:
                target += "?" + scope["query_string"].decode("latin-1")
            sent = [(name, value) for name, value in scope["headers"] if name in _SENT or name in way.forward]
            sent = record.carried(sent)
            body = Body(passage, receive, headers)
            reply = Reply(passage, begins, scope["method"] == "HEAD", bool(way.private or passage.requires))
            await way.go(scope["method"], target, sent, body, reply, passage.timeout)
            status = reply.status
        except (Gone, asyncio.CancelledError) as error:
            status = 499
            if isinstance(error, asyncio.CancelledError):
                raise
        except Exception as error:
            if not isinstance(error, JourneyError):
                log.exception("passage %s", passage.name)
            elif error.status >= 500:
                log.warning("passage %s: %s", passage.name, error)
            if begun:
                # Part of it is on its way; all that is left is to end it short of its length.
                raise
            status = await self._refused(passage, error, scope, send)
            if scope["method"] not in SAFE and status < 500:
                await rest(receive)
        finally:
            here.status = status

    def _admitted(self, passage: Passage, scope: Any) -> dict[bytes, bytes]:
        """The request's fields. Raises what refuses it before anything of its body is read."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["method"] not in SAFE and not is_own(headers, self._reading.origins):
            raise CrossOrigin("a page of another site sent this, and only a cookie authorises it")
        if passage.requires is not None:
            identity = Request(scope, headers, "web", self._reading).identity
            if not passage.requires.met(identity):
                if identity is None:
                    raise Unauthorized(f"{passage.name} needs {passage.requires}")
                raise Forbidden(f"the token does not hold: {passage.requires}")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:18]) > passage.most:
            raise too_large(passage)
        media = headers.get(b"content-type", b"").decode("latin-1")
        has_body = length != b"0" or b"transfer-encoding" in headers
        if has_body and not passage.takes(media):
            allowed = ", ".join(passage.media)
            raise UnsupportedMedia(f"the body's Content-Type is {media[:100] or 'none'}; allowed: {allowed}")
        return headers

    async def _refused(self, passage: Passage, error: Exception, scope: Any, send: Send) -> int:
        status, body = of_error(error, instance=scope["path"], journey=passage.name)
        await send_problem(send, status, body, scope["method"] == "HEAD", fields_of(error))
        return status

    async def stop(self) -> None:
        await super().stop()
        await asyncio.gather(*(way.close() for _, way in self._ways), return_exceptions=True)


def _way(passage: Passage, services: Mapping[str, Any]) -> Way:
    service = services.get(passage.to)
    if isinstance(service, ServiceClient):
        transport = service.transport
        if isinstance(transport, InProcess):
            return Inside(transport, service.forward)
        if isinstance(transport, HTTP):
            return Over(transport, service.forward)
    known = [name for name, each in services.items() if isinstance(each, ServiceClient)]
    raise StackError(
        f"Passage {passage.name!r}, to: there is no service {passage.to!r}{nearest(passage.to, known)} available: "
        f"{choices(known)} ({passage.place})"
    )
