"""The entities that an application keeps, and the calls that fetch them.

part ──▶ Held, the request's own look-up ──▶ Kept: store ──misses of all requests in one turn──▶ the function, once
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.journeys.attempt import attempt
from tierline.journeys.batch import ABSENT, Batch, in_order
from tierline.journeys.encoding import packed, plain
from tierline.journeys.entity import Entities
from tierline.journeys.fault import DeadlineExceeded
from tierline.journeys.frame import Frame, frame
from tierline.journeys.journey import Part
from tierline.journeys.store import get_many
from tierline.journeys.tags import Tags

if TYPE_CHECKING:
    from tierline.journeys.store import Store

Values = Callable[[list[Any]], dict[str, Any]]

_PATIENCE = 30.0
"""Seconds for a call that nothing else bounds."""
_ALL = 100_000


class Flight:
    """A value that is being fetched. `began` tells whether it can be older than a write."""

    __slots__ = ("began", "key", "place", "ready")

    def __init__(self, key: Any, place: str, ready: asyncio.Future[tuple[Any, bytes | None]]) -> None:
        self.key = key
        self.place = place
        self.ready = ready
        self.began = time.time()


class _Entry(msgspec.Struct, array_like=True):
    stored: float
    value: msgspec.Raw


_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_entry = msgspec.msgpack.Decoder(_Entry).decode


class Group:
    """What one call is going to ask for: keys of one kind, for callers of one sort."""

    __slots__ = ("around", "call", "flights")

    def __init__(self, call: Callable[[list[Any]], Awaitable[Any]]) -> None:
        self.call = call
        self.flights: list[Flight] = []
        self.around: Frame | None = None


class Kept:
    """The entities of one application, over the store of its cache; without one, calls are shared and nothing is kept."""

    def __init__(self, store: Store | None, tags: Tags | None, version: str = "1") -> None:
        self._store = store
        self._tags = tags
        self._version = version
        self._flying: dict[str, Flight] = {}
        self._next: dict[str, Group] = {}
        self._running: set[asyncio.Task[None]] = set()
        self.hits = 0
        self.misses = 0
        self.calls = 0

    def lookup(
        self,
        part: Part,
        given: Values,
        about: Callable[[list[Any]], list[Any]],
        services: tuple[str, ...],
        forwards: tuple[str, ...],
    ) -> Callable[[list[Any]], Held]:
        """What a plan calls to give a request its look-up. about: the values that are kept apart; services: whose writes
        make values old."""
        kind: Entities = part.entities

        def invoke(values: list[Any]) -> Held:
            words = given(values)
            scope = frame.get()
            headers = scope.shared.get("headers", {}) if scope is not None else {}
            apart = [*about(values), *((name, headers.get(name.encode(), b"")) for name in forwards)]
            digest = hashlib.blake2b(packed(apart), digest_size=16).hexdigest()
            prefix = f"entity:{self._version}:{kind.identity}:{digest}:"
            return Held(self, kind, prefix, lambda keys: kind.function(keys, **words), services)

        return invoke

    async def many(
        self,
        kind: Entities,
        prefix: str,
        call: Callable[[list[Any]], Awaitable[Any]],
        keys: list[Any],
        services: tuple[str, ...],
    ) -> dict[Any, Any]:
        """The values that there are, by key: from the store, from a call that is on its way, or from a new one."""
        scope = frame.get()
        wrote = scope.shared.get("wrote", {}) if scope is not None else {}
        since = max((wrote.get(name, 0.0) for name in services), default=0.0)
        places = {key: prefix + hashlib.blake2b(packed(key), digest_size=16).hexdigest() for key in keys}
        entries, old = await self._stored(kind, places)
        now = time.time()
        found: dict[Any, Any] = {}
        missing: dict[Any, asyncio.Future[tuple[Any, bytes | None]]] = {}
        life = kind.ttl
        for key, place in places.items():
            entry, limit = entries.get(key), max(since, old.get(key, 0.0))
            if entry is not None and entry.stored > limit and 0 <= now - entry.stored < kind.ttl:
                found[key] = msgspec.msgpack.decode(entry.value, type=kind.kind)
                life = min(life, kind.ttl - (now - entry.stored))
                self.hits += 1
                continue
            self.misses += 1
            flight = self._flying.get(place)
            if flight is None or flight.began <= limit:
                flight = self._take_off(key, place, prefix, kind, call)
            missing[key] = flight.ready
        if scope is not None:
            scope.shared["life"] = min(scope.shared.get("life", life), life)
        results = await asyncio.gather(
            *(asyncio.shield(ready) for ready in missing.values()), return_exceptions=True
        )
        for key, result in zip(missing, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            value, raw = result
            if value is not ABSENT:
                # Whoever else waits for it has one of its own, so that nobody changes another's.
                found[key] = value if raw is None else msgspec.msgpack.decode(raw, type=kind.kind)
        return found

    async def _stored(
        self, kind: Entities, places: Mapping[Any, str]
    ) -> tuple[dict[Any, _Entry], dict[Any, float]]:
        """What is kept, and since when it would be too old."""
        if self._store is None or self._tags is None:
            return {}, {}
        found = await get_many(self._store, list(places.values()))
        tags = {key: kind.tags(key) for key in places}
        dropped = await self._tags.dropped({tag for both in tags.values() for tag in both})
        entries: dict[Any, _Entry] = {}
        for key, raw in zip(places, found, strict=True):
            if raw is not None:
                try:
                    entries[key] = _entry(raw)
                    msgspec.msgpack.decode(entries[key].value, type=kind.kind)
                except msgspec.DecodeError:
                    entries.pop(key, None)
        return entries, {key: max(dropped.get(tag, 0.0) for tag in both) for key, both in tags.items()}

    def _take_off(
        self,
        key: Any,
        place: str,
        prefix: str,
        kind: Entities,
        call: Callable[[list[Any]], Awaitable[Any]],
    ) -> Flight:
        loop = asyncio.get_running_loop()
        flight = self._flying[place] = Flight(key, place, loop.create_future())
        group = self._next.get(prefix)
        if group is None:
            group = self._next[prefix] = Group(call)
            loop.call_soon(self._dispatch, prefix, kind)
        group.flights.append(flight)
        scope = frame.get()
        if scope is not None and (group.around is None or scope.deadline > group.around.deadline):
            group.around = scope
        return flight

    def _dispatch(self, prefix: str, kind: Entities) -> None:
        group = self._next.pop(prefix)
        for start in range(0, len(group.flights), kind.most):
            task = asyncio.ensure_future(self._fetch(group, group.flights[start : start + kind.most], kind))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _fetch(self, group: Group, flights: list[Flight], kind: Entities) -> None:
        """One call. It may outlive the request that began it, so it has a deadline and calls of its own."""
        loop = asyncio.get_running_loop()
        around = group.around
        ends = min(around.deadline if around is not None else inf, loop.time() + _PATIENCE)
        if kind.deadline is not None:
            ends = (
                min(ends, loop.time() + kind.deadline) if around is not None else loop.time() + kind.deadline
            )
        shared = around.shared if around is not None else {}
        frame.set(Frame(ends, {name: shared[name] for name in ("headers", "most") if name in shared}))
        attempt.set(None)
        began = time.time()
        for flight in flights:
            flight.began = began
        keys = [flight.key for flight in flights]
        self.calls += 1
        try:
            try:
                async with asyncio.timeout_at(ends):
                    values = in_order(keys, await group.call(keys))
            except TimeoutError:
                late = f"{kind.name}: {len(keys)} keys took longer than their deadline"
                raise DeadlineExceeded(late) from None
        except BaseException as error:
            failed = error if isinstance(error, Exception) else RuntimeError(f"{kind.name}: cancelled")
            for flight in flights:
                self._landed(flight)
                if not flight.ready.done():
                    flight.ready.set_exception(failed)
                    flight.ready.exception()
            if not isinstance(error, Exception):
                raise
            return
        kept = [self._raw(kind, value) for value in values]
        for flight, value, raw in zip(flights, values, kept, strict=True):
            if not flight.ready.done():
                flight.ready.set_result((value, raw))
        try:
            if self._store is not None:
                for flight, raw in zip(flights, kept, strict=True):
                    if raw is not None:
                        await self._store.put(flight.place, _encode((began, msgspec.Raw(raw))), kind.ttl)
        finally:
            for flight in flights:
                self._landed(flight)

    def _landed(self, flight: Flight) -> None:
        if self._flying.get(flight.place) is flight:
            del self._flying[flight.place]

    def _raw(self, kind: Entities, value: Any) -> bytes | None:
        """The value as it is kept; None for one that would come back as another type."""
        if value is ABSENT:
            return None
        try:
            raw = msgspec.msgpack.encode(value, enc_hook=plain)
            return raw if msgspec.msgpack.decode(raw, type=kind.kind) == value else None
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.DecodeError):
            return None

    async def drop(self, tags: Iterable[str]) -> None:
        if self._tags is not None:
            await self._tags.drop(tags)

    async def close(self) -> None:
        """Cancels the calls that are on their way."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class Held(Batch[Any, Any]):
    """One request's look-up of entities: `await products(7)`, `await products.many(ids)`, `await products.drop(7)`."""

    def __init__(
        self,
        kept: Kept,
        kind: Entities,
        prefix: str,
        call: Callable[[list[Any]], Awaitable[Any]],
        services: tuple[str, ...],
    ) -> None:
        super().__init__(lambda keys: kept.many(kind, prefix, call, keys, services), most=_ALL)
        self._kept = kept
        self._kind = kind

    async def drop(self, *keys: Any) -> None:
        """Makes what is kept of these keys old, for all callers; without keys, of all."""
        self._known = {}
        await self._kept.drop([self._kind.tags(key)[0] for key in keys] or [self._kind.name])
