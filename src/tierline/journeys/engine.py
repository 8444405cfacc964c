"""What the runs of one process share: the cache, the sessions, what is still unwinding, and how it went."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tierline.journeys.cached import Cached
from tierline.journeys.checks import Checks
from tierline.journeys.eager import Eager
from tierline.journeys.fault import JourneyError, ServiceError, SessionAway, released
from tierline.journeys.kept import Kept
from tierline.journeys.policy import Policy
from tierline.journeys.request import Request
from tierline.journeys.service import SAFE
from tierline.journeys.session import Session, SessionStore
from tierline.journeys.store import MemoryStore, Store

if TYPE_CHECKING:
    from tierline.journeys.plan import Node, Plan
    from tierline.journeys.run import Run

log = logging.getLogger("tierline.journeys")

_UNTIL_WRITTEN = 30.0
"""Seconds that effects may take when the process is to end."""
_SAY = 60.0
"""Seconds between two lines about one part's old copies."""


class Engine:
    """One per application."""

    def __init__(
        self,
        *,
        cached: Cached | None = None,
        sessions: SessionStore | None = None,
        on_event: Callable[[dict[str, Any]], Any] | None = None,
        zone: str = "",
        on_drop: Callable[[list[str]], Any] | None = None,
    ) -> None:
        self.cached = cached
        self.on_drop = on_drop
        self.kept = Kept(None, None) if cached is None else Kept(cached.store, cached.tags, cached.version)
        self.sessions = sessions
        self.on_event = on_event
        self.zone = zone or os.environ.get("TIERLINE_ZONE", "")
        self.unwinding: set[Eager] = set()
        self.writes: Store = sessions._store if isinstance(sessions, SessionStore) else MemoryStore()
        """Where effects note what they have done."""
        self.writing: set[asyncio.Future[Any]] = set()
        """Effects that go on, whoever waits for them."""
        self.checks = Checks()
        self.failures: Counter[tuple[str, str]] = Counter()
        """By journey and part, as the next three."""
        self.fallbacks: Counter[tuple[str, str]] = Counter()
        self.stale: Counter[tuple[str, str]] = Counter()
        self.revalidated: Counter[tuple[str, str]] = Counter()
        self._said: dict[tuple[str, str, str], float] = {}
        """When the next line of a kind about a part may be written."""
        self.loaders: Mapping[str, tuple[Callable[..., Any], Policy]] = {
            "session": (self.load_session, Policy(deadline=1.0, fallback=Session)),
            "steps": (lambda session: session.steps, Policy()),
            "entities": (self.kept.lookup, Policy()),
        }

    async def load_session(self, request: Request) -> Session:
        """The request's session, loaded once."""
        session: Session | None = request.kept.get("session")
        if session is not None:
            return session
        # A stream's visitor is looked up while its parts, which may ask for the session, run already.
        async with request.kept.setdefault("loading", asyncio.Lock()):
            session = request.kept.get("session")
            if session is None:
                try:
                    session = request.kept["session"] = await self._loaded(request)
                except Exception as error:
                    if isinstance(error, JourneyError):
                        raise
                    log.warning("the sessions' store: %s: %s", type(error).__name__, error)
                    raise SessionAway("its store is full or can't be reached", retry_after=1) from None
        return session

    async def _loaded(self, request: Request) -> Session:
        if self.sessions is None:
            return Session()
        session = await self.sessions.load(request.joined(), request.identity)
        if request.method not in SAFE and session.id and not session.new:
            # What it reads it may write: until it has, nobody else of this session does.
            request.kept["held"] = await self.sessions.hold(session)
            request.kept["holds"] = session
            await self.sessions.refresh(session)
        return session

    async def save_session(self, request: Request) -> str:
        """Saves the request's session when it has changed; the cookie that the client has to be given, else ""."""
        session: Session | None = request.kept.get("session")
        if session is None or not session.changed or self.sessions is None:
            return ""
        return await self.sessions.save(session, held=bool(request.kept.get("held")))

    def let_go(self, request: Request) -> None:
        """The request has ended, or its effects go on without it: then others wait for these."""
        token = request.kept.get("held", "")
        if not token or self.sessions is None:
            return
        task = asyncio.ensure_future(self._release(request, token))
        self.writing.add(task)
        task.add_done_callback(self.writing.discard)

    async def _release(self, request: Request, token: str) -> None:
        assert self.sessions is not None
        effects: asyncio.Task[Any] | None = request.kept.get("effects")
        try:
            if effects is not None and not effects.done():
                await asyncio.wait([effects])
            del request.kept["held"]
            await self.sessions.release(request.kept["holds"], token)
        except Exception:
            log.warning("a session's lock could not be released; it is void after a while", exc_info=True)

    def owner(self, run: Run) -> str:
        """Whose answer it is, for a cache per user."""
        values, slots = run.values, run.plan.slots
        identity = values[slots["identity"]] if "identity" in slots else None
        if identity and identity.get("sub"):
            return f"user:{identity['sub']}"
        session = values[slots["session"]] if "session" in slots else None
        return f"session:{session.id}" if session is not None and session.id else ""

    def failed(
        self, plan: Plan, node: Node, error: BaseException, *, degraded: bool, age: float | None = None
    ) -> None:
        """Counts a failure, tells of those that nobody raised on purpose, and lets go of what they held. age: seconds, of
        the copy that stands in."""
        try:
            self._tell(plan, node, error, degraded, age)
        finally:
            released(error)

    def _tell(self, plan: Plan, node: Node, error: BaseException, degraded: bool, age: float | None) -> None:
        key = (plan.journey.name, node.name)
        self.failures[key] += 1
        if degraded:
            (self.fallbacks if age is None else self.stale)[key] += 1
        if isinstance(error, JourneyError) and error.status < 500 and age is None:
            return
        level = logging.WARNING if degraded or isinstance(error, JourneyError) else logging.ERROR
        # What a neighbour in this process raised: elsewhere its own server would have told.
        raised = error.__cause__ if isinstance(error, ServiceError) else error
        meant = raised is None or isinstance(raised, JourneyError)
        log.log(
            level,
            "journey %s, part %s: %s: %s%s%s",
            plan.journey.name,
            node.name,
            type(error).__name__,
            error,
            "" if raised is None or meant or not degraded else _where(raised),
            ""
            if not degraded
            else "; answered without it"
            if age is None
            else f"; answered with a copy of {age:.0f} s",
            exc_info=None if degraded or meant else raised,
        )

    def aged(self, plan: Plan, node: Node, age: float) -> None:
        """Counts an answer from an old copy while a new one is made, and tells of it once in a while."""
        key = (plan.journey.name, node.name)
        self.revalidated[key] += 1
        if self._may_say("aged", key):
            log.warning(
                "journey %s, part %s: answered with a copy of %.0f s while a new one is made", *key, age
            )

    def not_refreshed(self, plan: Plan, node: Node, error: BaseException) -> None:
        """Counts a failure that no request saw, and tells of it once in a while."""
        key = (plan.journey.name, node.name)
        self.failures[key] += 1
        if self._may_say("refresh", key):
            what = f"{type(error).__name__}: {error}"
            log.warning("journey %s, part %s: %s; its old copy is used", *key, what)
        released(error)

    def _may_say(self, what: str, key: tuple[str, str]) -> bool:
        now = time.monotonic()
        if now < self._said.get((what, *key), 0.0):
            return False
        self._said[what, *key] = now + _SAY
        return True

    async def drop(self, tags: Iterable[str]) -> None:
        """What is stored with one of these tags is old, and whoever asked for it is told. A store that is away has nothing
        to drop, and fails nobody."""
        named = list(dict.fromkeys(tags))
        try:
            await self.kept.drop(named)
            if self.on_drop is not None and named:
                result = self.on_drop(named)
                if asyncio.iscoroutine(result):
                    async with asyncio.timeout(2):
                        await result
        except Exception:
            log.exception("what has the tags %s could not be dropped everywhere", ", ".join(named))

    def unwound(self, task: Eager) -> None:
        """A cancelled part has come to its end."""
        self.unwinding.discard(task)
        if task.error is not None:
            released(task.error)

    async def event(self, event: dict[str, Any]) -> None:
        """Hands an event on. One that can't be handed on is told, and harms nothing."""
        if self.on_event is None:
            return
        try:
            result = self.on_event(event)
            if asyncio.iscoroutine(result):
                async with asyncio.timeout(2):
                    await result
        except Exception:
            log.exception("the event %s could not be handed on", event.get("event"))

    async def close(self) -> None:
        """Gives what was cancelled a moment to unwind, then closes the stores."""
        if self.writing:
            await asyncio.wait(self.writing, timeout=_UNTIL_WRITTEN)
        for _ in range(50):
            if not self.unwinding:
                break
            await asyncio.sleep(0.01)
        await self.kept.close()
        if self.cached is not None:
            await self.cached.close()
        if self.sessions is not None:
            await self.sessions.close()


def _where(error: BaseException) -> str:
    """The line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
