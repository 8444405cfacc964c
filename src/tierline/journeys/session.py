"""Sessions, and the funnels that are kept in them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import msgspec

from tierline.journeys.journey import Journey
from tierline.journeys.policy import seconds
from tierline.journeys.store import Store, store

_ID = re.compile(r"[A-Za-z0-9_-]{22,64}")
COOKIE = "tierline_session"
_STEPS = "__steps"


class Session(MutableMapping[str, Any]):
    """What is remembered of one visitor: a dict that is saved when it has changed.

    `id` is "" until something is remembered: a visit that leaves nothing behind gets no cookie.
    """

    __slots__ = ("_values", "changed", "id", "new")

    def __init__(self, id: str = "", values: Mapping[str, Any] | None = None) -> None:
        self.id = id
        self.new = not id
        self.changed = False
        self._values = dict(values or {})

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value
        self.changed = True

    def __delitem__(self, key: str) -> None:
        del self._values[key]
        self.changed = True

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._values if key != _STEPS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Session({self.id[:4]}…, {dict(self)!r})"

    def as_dict(self) -> dict[str, Any]:
        return dict(self._values)

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        """By funnel: the step reached, its path and when, e.g. to offer "go on where you stopped"."""
        return dict(self._values.get(_STEPS, {}))

    def reach(self, journey: Journey, path: str, funnels: Mapping[str, int]) -> list[dict[str, Any]]:
        """Notes that this journey was reached; one event per funnel it is a step of."""
        events: list[dict[str, Any]] = []
        known: dict[str, Any] = dict(self._values.get(_STEPS, {}))
        for step in journey.steps:
            before: dict[str, Any] = known.get(step.funnel) or {}
            if step.after and step.after not in before.get("seen", ()):
                # Not by this way: a film page opened from a search engine is no step of the funnel from home.
                continue
            seen = before.get("seen", []) if step.after else []
            entry = {
                "step": journey.name,
                "index": step.index,
                "path": path,
                "at": time.time(),
                "seen": [name for name in seen if name != journey.name] + [journey.name],
            }
            known[step.funnel] = entry
            events.append(
                {
                    "event": "step",
                    "funnel": step.funnel,
                    "step": journey.name,
                    "index": step.index,
                    "of": funnels.get(step.funnel, step.index + 1),
                    "previous": before.get("step", ""),
                    "again": before.get("step") == journey.name,
                    "path": path,
                    "at": entry["at"],
                }
            )
        if events:
            self[_STEPS] = known
        return events


class SessionStore:
    """Loads and saves sessions in a Store: `"memory:"`, `"redis://…"`, or any Store.

    A visitor is known by a cookie or the header `x-session`; whoever is signed in has one session on all
    devices. An id that this store did not give out is not taken over.
    """

    def __init__(
        self, where: Store | str | None = None, *, ttl: str | float = "30d", cookie: str = COOKIE
    ) -> None:
        self._store = store(where, strict=True)
        self._ttl = seconds(ttl, "SessionStore.ttl")
        self.cookie = cookie

    async def load(self, headers: Mapping[bytes, bytes], identity: Mapping[str, Any] | None) -> Session:
        """The session of a request; an empty one when it has none."""
        given = self._given(headers)
        user = str(identity.get("sub") or "") if identity else ""
        if user:
            mine = await self._get(f"user:{user}")
            session = Session(f"user:{user}", mine)
            if given and (visitor := await self._get(given)):
                # What was collected before signing in comes along, once.
                for key, value in visitor.items():
                    if key not in session._values:
                        session[key] = value
                await self._store.drop(f"session:{given}")
            return session
        if given and (found := await self._get(given)) is not None:
            return Session(given, found)
        return Session()

    async def _get(self, id: str) -> dict[str, Any] | None:
        raw = await self._store.get(f"session:{id}")
        return None if raw is None else msgspec.msgpack.decode(raw, type=dict[str, Any])

    def _given(self, headers: Mapping[bytes, bytes]) -> str:
        text = headers.get(b"x-session", b"").decode("latin-1")
        if not text:
            for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self.cookie:
                    text = value
        return text if _ID.fullmatch(text) else ""

    async def save(self, session: Session) -> str:
        """Saves a changed session; the value of a new one's cookie, else ""."""
        if not session.id:
            session.id = secrets.token_urlsafe(24)
        raw = msgspec.msgpack.encode(session.as_dict(), enc_hook=str)
        await self._store.put(f"session:{session.id}", raw, self._ttl)
        session.changed = False
        if session.new and not session.id.startswith("user:"):
            session.new = False
            return f"{self.cookie}={session.id}; Path=/; Max-Age={int(self._ttl)}; HttpOnly; SameSite=Lax"
        return ""

    async def close(self) -> None:
        await self._store.close()
