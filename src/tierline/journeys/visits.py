"""What an answer leaves behind in its visitor's session: steps of funnels, and what parts have changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from tierline.journeys.answer import Headers
from tierline.journeys.engine import Engine, log
from tierline.journeys.fault import SessionNotSaved
from tierline.journeys.journey import Journey
from tierline.journeys.request import Request
from tierline.journeys.service import SAFE
from tierline.journeys.session import Session
from tierline.trips import record

_WITHIN = 1.0
"""Seconds that a session store may take; then the answer goes out without its step."""
_SAY = 10.0
"""Seconds between two lines that say so."""
CONTROL = 1
"""Where an answer's headers have its Cache-Control."""


class Visits:
    """Of one application."""

    def __init__(self, engine: Engine, journeys: Iterable[Journey]) -> None:
        self._engine = engine
        self.unsaved = 0
        """Sessions that were lost because their store was full or away."""
        self._say_at = 0.0
        self._funnels: dict[str, int] = {}
        """How many steps each funnel has."""
        for journey in journeys:
            for step in journey.steps:
                self._funnels[step.funnel] = max(self._funnels.get(step.funnel, 0), step.index + 1)

    async def answered(self, journey: Journey, request: Request, reply: Headers) -> None:
        """Before an answer's head is sent: its steps, and the session when it has changed.

        An answer that shared caches may keep begins no visit and names no step: its headers are everybody's.
        """
        shared = reply[CONTROL][1].startswith(b"public")
        session = await self._loaded(journey, request) if journey.steps else None
        if session is not None and not (shared and session.new):
            for event in await self._reached(journey, request, session, reply):
                if not shared:
                    step = f"{event['funnel']};{event['index'] + 1}/{event['of']}"
                    reply.append((b"x-tierline-step", step.encode()))
        known: Session | None = request.kept.get("session")
        if (
            known is not None
            and self._engine.sessions is not None
            and (known.changed or "cookie" in request.kept)
        ):
            await self._save(known, request, reply)

    async def opens(self, journey: Journey, request: Request, reply: Headers) -> None:
        """Before a stream's head: a new visitor's cookie, which can't be sent any later."""
        if journey.steps and (session := await self._loaded(journey, request)) is not None:
            assert self._engine.sessions is not None
            self._tell(session, self._engine.sessions.begin(session), request, reply)
        reply += self.begun(request)

    def begun(self, request: Request) -> Headers:
        """The cookie of a session that was begun for an effect's key: whatever the answer is, the same request again has
        to be known by it."""
        reply: Headers = [(b"", b""), (b"cache-control", b"no-store")]
        session: Session | None = request.kept.get("session")
        if session is not None:
            self._tell(session, request.kept.pop("cookie", ""), request, reply)
        return reply[2:]

    async def closes(self, journey: Journey, request: Request, *, whole: bool) -> None:
        """After a stream: its steps when all that was asked for was delivered, and the session."""
        session: Session | None = request.kept.get("session")
        if session is None or self._engine.sessions is None:
            return
        if whole and journey.steps:
            await self._reached(journey, request, session, [])
        if session.changed and session.id:
            await self._save(session, request, [])

    async def _loaded(self, journey: Journey, request: Request) -> Session | None:
        if self._engine.sessions is None:
            return None
        try:
            async with asyncio.timeout(_WITHIN):
                return await self._engine.load_session(request)
        except Exception:
            log.warning("journey %s: the session could not be loaded; its step is not kept", journey.name)
            return None

    async def _reached(
        self, journey: Journey, request: Request, session: Session, reply: Headers
    ) -> list[dict[str, Any]]:
        """Notes the steps and hands their events on."""
        events = session.reach(journey, request.path, self._funnels)
        if events and session.changed:
            await self._save(session, request, reply)
        span = record.current.get()
        for event in events:
            event["client"] = request.client
            event["trace"] = span.trace if span is not None else ""
            event["session"] = session.id
            await self._engine.event(event)
        return events

    async def _save(self, session: Session, request: Request, reply: Headers) -> None:
        assert self._engine.sessions is not None
        try:
            async with asyncio.timeout(_WITHIN):
                cookie = await self._engine.save_session(request) or request.kept.pop("cookie", "")
        except Exception as error:
            self._unsaved(error)
            if request.method not in SAFE and session.written:
                # A step may be lost; what a client was told to have written may not.
                raise SessionNotSaved("what this request changed is not kept", retry_after=1) from None
            return
        self._tell(session, cookie, request, reply)

    def _unsaved(self, error: Exception) -> None:
        """A store that is full or away fails each request's session: one line in ten seconds says so."""
        self.unsaved += 1
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + _SAY
            log.error(
                "a session could not be saved (%d since the start): %s: %s",
                self.unsaved,
                type(error).__name__,
                error,
            )

    def _tell(self, session: Session, cookie: str, request: Request, reply: Headers) -> None:
        if not cookie or not reply:
            return
        if request.header("x-forwarded-proto") == "https":
            cookie += "; Secure"
        reply.append((b"set-cookie", cookie.encode()))
        # A browser has the cookie, which no script of the page can read; other clients may keep no cookies.
        if not session.left and b"sec-fetch-site" not in request.headers:
            reply.append((b"x-session", (session.device or session.id).encode()))
        if reply[CONTROL][1] != b"no-store":
            reply[CONTROL] = (b"cache-control", b"private, no-cache")
