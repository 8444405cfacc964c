"""Sessions, and the funnels that are kept in them."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import msgspec

from tierline.journeys.fault import SessionBusy
from tierline.journeys.journey import Journey
from tierline.journeys.policy import bound
from tierline.journeys.store import Store, store

_ID = re.compile(r"[A-Za-z0-9_-]{22,64}")
COOKIE = "tierline_session"
_STEPS = "__steps"
_KEYS = "__keys"
_MOST_KEYS = 16
_MEMBER = "__member"
"""In a visitor's session: whose it has become. All else is in the member's own."""


_LOCKED = 30.0
"""Seconds after which the lock of a process that has died is void."""
_PATIENCE = 2.0
"""Seconds to wait for another request of the same session."""


def _encode(values: Mapping[str, Any]) -> bytes:
    return msgspec.msgpack.encode(values, enc_hook=str)


def _merged(base: Any, mine: Any, theirs: Any) -> Any:
    """What is stored, with what `mine` has changed since `base`: maps by key, all else as a whole."""
    if not (isinstance(base, Mapping) and isinstance(mine, Mapping) and isinstance(theirs, Mapping)):
        return mine
    merged = dict(theirs)
    for key in {*base, *mine}:
        if key not in mine:
            merged.pop(key, None)
        elif key not in base or mine[key] != base[key]:
            merged[key] = _merged(base.get(key), mine[key], theirs.get(key))
    return merged


def _parts(values: dict[str, Any]) -> dict[str, Any]:
    """What parts have put in."""
    return {key: value for key, value in values.items() if key not in (_STEPS, _KEYS)}


class Session(MutableMapping[str, Any]):
    """What is remembered of one visitor: a dict that is saved when it has changed.

    `id` is "" until something is remembered: a visit that leaves nothing behind gets no cookie. `device` is the
    cookie's value where a member's session is known by one.
    """

    __slots__ = ("_base", "_touched", "_values", "device", "id", "left", "new")

    def __init__(self, id: str = "", values: Mapping[str, Any] | None = None, *, device: str = "") -> None:
        self.id = id
        self.device = device
        self.left = False
        self.new = not id
        self._touched = False
        self._values = dict(values or {})
        self._base = _encode(self._values)

    @property
    def changed(self) -> bool:
        """Whether there is something to save: a change deep in a value counts too."""
        return self._touched or _encode(self._values) != self._base

    @changed.setter
    def changed(self, changed: bool) -> None:
        self._touched = changed
        if not changed:
            self._base = _encode(self._values)

    @property
    def written(self) -> bool:
        """Whether a part has changed something: more than steps and keys."""
        return _parts(msgspec.msgpack.decode(self._base)) != _parts(
            msgspec.msgpack.decode(_encode(self._values))
        )

    def merge(self, stored: Mapping[str, Any] | None) -> None:
        """Takes over what another request has stored meanwhile, and keeps what this one has changed."""
        if stored is not None:
            self._values = _merged(msgspec.msgpack.decode(self._base), self._values, stored)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._values if key not in (_STEPS, _KEYS))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Session({self.id[:4]}…, {dict(self)!r})"

    def as_dict(self) -> dict[str, Any]:
        return dict(self._values)

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        """By funnel: the latest step, its path and when; `reached` has each step's latest path since the funnel was
        last `done`, e.g. to offer "go on where you stopped"."""
        return dict(self._values.get(_STEPS, {}))

    def idempotency_key(self, of: str) -> str:
        """The key of an effect whose request brought none: the same until `answered(of)`."""
        keys = dict(self._values.get(_KEYS, {}))
        key = keys.get(of)
        if key is None:
            key = keys[of] = secrets.token_urlsafe(18)
            self._values[_KEYS] = dict(list(keys.items())[-_MOST_KEYS:])
        return str(key)

    def answered(self, of: str) -> None:
        """The client has its answer: the next request of this kind is a new one."""
        keys = {name: key for name, key in self._values.get(_KEYS, {}).items() if name != of}
        if keys:
            self._values[_KEYS] = keys
        else:
            self._values.pop(_KEYS, None)

    def take(self, values: Mapping[str, Any]) -> None:
        """What a visitor has collected comes along: where both know something, the member's own stays.

        Of a funnel's steps the later ones stay: that is where the visitor is now.
        """
        for key, value in values.items():
            if key == _STEPS:
                mine = dict(self._values.get(_STEPS, {}))
                for funnel, entry in value.items():
                    mine[funnel] = _joined(mine[funnel], entry) if funnel in mine else entry
                self[_STEPS] = mine
            elif key not in self._values:
                self[key] = value

    def leave(self) -> None:
        """Ends the visit on this device: its cookie is dropped. What a member's session holds stays."""
        self.left = self.changed = True

    def reach(self, journey: Journey, path: str, funnels: Mapping[str, int]) -> list[dict[str, Any]]:
        """Notes that this journey was reached; one event per funnel it is a step of."""
        events: list[dict[str, Any]] = []
        known: dict[str, Any] = dict(self._values.get(_STEPS, {}))
        for step in journey.steps:
            before: dict[str, Any] = known.get(step.funnel) or {}
            if step.after and step.after not in before.get("reached", ()):
                # Not by this way: a film page opened from a search engine is no step of the funnel from home.
                continue
            now = time.time()
            reached = {**before.get("reached", {}), journey.name: {"path": path, "at": now}}
            of = funnels.get(step.funnel, step.index + 1)
            last = step.index + 1 == of
            entry = {
                "step": journey.name,
                "index": step.index,
                "path": path,
                "at": now,
                "reached": {} if last else reached,
                "done": now if last else before.get("done", 0.0),
            }
            known[step.funnel] = entry
            events.append(
                {
                    "event": "step",
                    "funnel": step.funnel,
                    "step": journey.name,
                    "index": step.index,
                    "of": of,
                    "previous": before.get("step", ""),
                    "again": before.get("step") == journey.name,
                    "path": path,
                    "at": now,
                }
            )
        if events:
            self[_STEPS] = known
        return events


def _joined(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """One funnel's steps on two devices: the later of each, and nothing from before it was last done."""
    later, earlier = (mine, theirs) if mine["at"] >= theirs["at"] else (theirs, mine)
    done = max(mine.get("done", 0.0), theirs.get("done", 0.0))
    reached: dict[str, Any] = {}
    for entry in (earlier, later):
        for name, step in entry.get("reached", {}).items():
            if step["at"] > done and step["at"] >= reached.get(name, step)["at"]:
                reached[name] = step
    return {**later, "reached": reached, "done": done}


class SessionStore:
    """Loads and saves sessions in a Store: `"memory:"`, `"redis://…"`, or any Store.

    A visitor is known by a cookie or the header `x-session`. Whoever is signed in has one session on all devices:
    what was collected before comes along, and a device that had a cookie gets a new one, which stands for the
    member's session from then on, also in requests that carry no token. An id that this store did not give out is
    not taken over.
    """

    def __init__(
        self, where: Store | str | None = None, *, ttl: str | float = "30d", cookie: str = COOKIE
    ) -> None:
        self._store = store(where, strict=True)
        self._ttl = bound(ttl, "SessionStore.ttl")
        self.cookie = cookie

    async def load(self, headers: Mapping[bytes, bytes], identity: Mapping[str, Any] | None) -> Session:
        """The session of a request; an empty one when it has none."""
        given = self._given(headers)
        found = await self._get(given) if given else None
        member = str(found.get(_MEMBER) or "") if found else ""
        user = str(identity.get("sub") or "") if identity else member
        if not user:
            return Session() if found is None else Session(given, found)
        session = Session(f"user:{user}", await self._get(f"user:{user}"))
        if member == user:
            session.device = given
        elif found is not None:
            # A cookie from before signing in, or another member's: never this one's, or whoever had planted it
            # would be in the session too.
            if not member:
                session.take(found)
            await self._store.drop(f"session:{given}")
            session.device, session.new, session.changed = secrets.token_urlsafe(24), True, True
        return session

    async def hold(self, session: Session) -> str:
        """Keeps other requests from changing this session until `release`. Raises SessionBusy after two seconds."""
        if not session.id:
            return ""
        token = secrets.token_hex(8)
        until = time.monotonic() + _PATIENCE
        try:
            while not await self._store.add(f"lock:{session.id}", token.encode(), _LOCKED):
                if time.monotonic() > until:
                    raise SessionBusy("another request of this session has not ended", retry_after=1)
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            # Its store may have put it already.
            await self.release(session, token)
            raise
        return token

    async def release(self, session: Session, token: str) -> None:
        """Lets others go on. A lock that has become another's is left alone."""
        if token and await self._store.get(f"lock:{session.id}") == token.encode():
            await self._store.drop(f"lock:{session.id}")

    async def refresh(self, session: Session) -> None:
        """What has been stored since it was loaded."""
        if session.id and (found := await self._get(session.id)) is not None:
            session.merge(found)
            session._base = _encode(found)

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

    def begin(self, session: Session) -> str:
        """An id for a new session, before there is anything to save; its cookie, or "" when it has one."""
        if not session.new:
            return ""
        session.id = session.id or secrets.token_urlsafe(24)
        session.new = False
        return self._cookie(session.device or session.id, int(self._ttl))

    async def save(self, session: Session, *, held: bool = False) -> str:
        """Saves a changed session; the cookie that the client has to be given, else "".

        What another request has stored meanwhile is kept, except for what this one has changed itself. held: this
        request holds the session already.
        """
        if session.left:
            return await self._drop(session)
        fresh = not session.id
        cookie = self.begin(session)
        token = "" if held or fresh else await self.hold(session)
        try:
            if not fresh:
                session.merge(await self._get(session.id))
            await self._store.put(f"session:{session.id}", _encode(session.as_dict()), self._ttl)
        finally:
            await self.release(session, token)
        if session.device:
            bound = msgspec.msgpack.encode({_MEMBER: session.id.removeprefix("user:")})
            await self._store.put(f"session:{session.device}", bound, self._ttl)
        session.changed = False
        return cookie

    async def _drop(self, session: Session) -> str:
        id = session.device or session.id
        session.changed = False
        if id and not id.startswith("user:"):
            await self._store.drop(f"session:{id}")
        return self._cookie("", 0)

    def _cookie(self, value: str, seconds: int) -> str:
        return f"{self.cookie}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"

    async def close(self) -> None:
        await self._store.close()
