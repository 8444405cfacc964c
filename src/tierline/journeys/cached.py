"""A part's answer used again: shared or per user, stale while it is refreshed, equal calls made once."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.journeys.encoding import packed, plain
from tierline.journeys.fault import JourneyError
from tierline.journeys.frame import Frame, frame
from tierline.journeys.guard import limited
from tierline.journeys.policy import Cache
from tierline.journeys.request import claimed
from tierline.journeys.store import Store
from tierline.journeys.tags import Tags, filled

if TYPE_CHECKING:
    from tierline.journeys.plan import Node
    from tierline.journeys.run import Run


log = logging.getLogger("tierline.journeys")


class _Entry(msgspec.Struct, array_like=True):
    stored: float
    value: msgspec.Raw


_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_entry = msgspec.msgpack.Decoder(_Entry).decode


class Cached:
    """The cache of all parts of one process, over a store that others may share."""

    def __init__(self, store: Store, version: str = "1") -> None:
        self.store = store
        self.version = version
        self.tags = Tags(store)
        self._calls: dict[str, asyncio.Task[Any]] = {}
        self._waiting: dict[str, int] = {}
        self._decoders: dict[Any, Any] = {}
        self._told: set[str] = set()
        self.hits = 0
        self.stale = 0
        self.misses = 0

    async def get(self, node: Node, run: Run, cache: Cache) -> Any:
        """The cached value, or the part's own."""
        owner = ""
        if cache.per == "user":
            owner = run.engine.owner(run)
            if not owner:
                # Nobody knows whose it is: it can't be kept, nor shared with an equal call.
                return await limited(node, run)
        key = self._key(node, run, owner)
        found = await self.store.get(key)
        if found is not None and cache.keys:
            found = await self._not_dropped(found, node, run, cache)
        entry: _Entry | None = None
        if found is not None:
            try:
                entry = _entry(found)
                age = time.time() - entry.stored
                if 0 <= age < cache.max_age + cache.stale:
                    value = self._decode(node, entry.value)
                    fresh = age < cache.max_age
                    run.life = min(run.life, cache.max_age - age)
                    self._say(node, run, "hit" if fresh else "stale")
                    if fresh:
                        self.hits += 1
                    else:
                        self.stale += 1
                        if key not in self._calls and not self._made_of_fallbacks(node, run):
                            self._refresh(key, node, run, cache)
                        run.aged(node, age)
                    return value
            except msgspec.DecodeError:
                entry = None
        self.misses += 1
        self._say(node, run, "miss")
        if entry is not None and time.time() - entry.stored < cache.max_age + cache.stale_if_error:
            run.copies = {**(run.copies or {}), node.name: entry}
        if self._made_of_fallbacks(node, run):
            return await limited(node, run)
        return await self._collapsed(key, node, run, cache)

    def stand_in(self, node: Node, run: Run, error: Exception) -> tuple[Any, float] | None:
        """The copy that may answer for a part that failed or took too long, and its age in seconds."""
        entry = run.copies.get(node.name) if run.copies is not None else None
        # A clear no, such as 404 or 403, is an answer: nothing stands in for it.
        if entry is None or (isinstance(error, JourneyError) and error.status < 500 and error.status != 429):
            return None
        try:
            value = self._decode(node, entry.value)
        except msgspec.DecodeError:
            return None
        self._say(node, run, "stale, the part failed")
        self.stale += 1
        return value, time.time() - entry.stored

    async def _not_dropped(self, found: bytes, node: Node, run: Run, cache: Cache) -> bytes | None:
        """What is stored, unless one of its keys was dropped since it was made."""
        slots, values = run.plan.slots, run.values
        names = {name: values[slots[name]] for name in node.keyed}
        dropped = await self.tags.dropped(filled(cache.keys, names))
        try:
            return found if not dropped or _entry(found).stored > max(dropped.values()) else None
        except msgspec.DecodeError:
            return None

    def _made_of_fallbacks(self, node: Node, run: Run) -> bool:
        """Something stood in for what it is made of: good for this answer, and for no other."""
        return run.degraded is not None and not node.made_of.isdisjoint(run.degraded)

    def _say(self, node: Node, run: Run, verdict: str) -> None:
        if run.span is not None:
            run.frame.shared["verdict", node.name] = verdict

    def _key(self, node: Node, run: Run, owner: str) -> str:
        slots, values = run.plan.slots, run.values
        about: list[Any] = [owner]
        for name in node.keyed:
            if name not in ("session", "identity", "request", "steps"):
                about.append((name, values[slots[name]]))
        if "identity" in node.keyed:
            # A token of the same user that may do less has values of its own.
            about.append(claimed(values[slots["identity"]]))
        for header in node.vary:
            about.append((header, values[slots["request"]].header(header)))
        headers = run.frame.shared.get("headers", {})
        for header in node.forwards:
            about.append((header, headers.get(header.encode(), b"")))
        digest = hashlib.blake2b(packed(about), digest_size=16).hexdigest()
        return f"part:{self.version}:{node.identity}:{digest}"

    def _decode(self, node: Node, raw: msgspec.Raw) -> Any:
        kind = node.returns
        try:
            decoder = self._decoders.get(kind)
            if decoder is None:
                decoder = self._decoders[kind] = msgspec.msgpack.Decoder(kind)
        except TypeError:
            decoder = msgspec.msgpack.Decoder(Any)
        return decoder.decode(raw)

    async def _collapsed(self, key: str, node: Node, run: Run, cache: Cache) -> Any:
        """Joins the call that runs already for this key, or starts it. The last to give up cancels it."""
        task = self._calls.get(key) or self._start(key, node, run, cache)
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            return await asyncio.shield(task)
        finally:
            left = self._waiting[key] - 1
            if left:
                self._waiting[key] = left
            else:
                del self._waiting[key]
                if not task.done():
                    task.cancel()

    def _start(self, key: str, node: Node, run: Run, cache: Cache) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(self._call(key, node, run, cache))
        self._calls[key] = task
        task.add_done_callback(lambda done: self._done(key, done))
        return task

    def _refresh(self, key: str, node: Node, run: Run, cache: Cache) -> None:
        """Makes a new value while the old one is used. When that fails it is told all the same."""
        plan, engine = run.plan, run.engine

        def ended(task: asyncio.Task[Any]) -> None:
            # Who waits for it too tells of it.
            if not task.cancelled() and (error := task.exception()) is not None and key not in self._waiting:
                engine.not_refreshed(plan, node, error)

        self._start(key, node, run, cache).add_done_callback(ended)

    def _done(self, key: str, task: asyncio.Task[Any]) -> None:
        if self._calls.get(key) is task:
            del self._calls[key]
        if not task.cancelled():
            task.exception()

    async def _call(self, key: str, node: Node, run: Run, cache: Cache) -> Any:
        # It may outlive the request that began it, so it has a deadline and calls of its own.
        bound = node.deadline or run.plan.journey.deadline
        kept = {name: run.frame.shared[name] for name in ("headers", "most") if name in run.frame.shared}
        frame.set(Frame(run.loop.time() + bound, kept))
        began = time.time()
        async with asyncio.timeout(bound):
            value = await limited(node, run)
        check = node.check
        if check is None or isinstance(value, check):
            entry = self._entry(node, value, began if cache.keys else time.time())
            if entry is not None:
                await self.store.put(key, entry, cache.max_age + max(cache.stale, cache.stale_if_error))
        return value

    def _entry(self, node: Node, value: Any, stored: float) -> bytes | None:
        """The value as it is stored; None for one that would come back as something else, such as a Decimal of a
        part whose return type isn't written down."""
        try:
            raw = msgspec.msgpack.encode(value, enc_hook=plain)
            if self._decode(node, msgspec.Raw(raw)) == value:
                return _encode((stored, msgspec.Raw(raw)))
            why = "it would come back as another type"
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.DecodeError) as error:
            why = str(error)
        if node.name not in self._told:
            self._told.add(node.name)
            log.warning(
                "part %s is not cached: %s; write down what it returns, `-> dict[str, Decimal]`",
                node.name,
                why,
            )
        return None

    async def close(self) -> None:
        """Cancels what still refreshes."""
        calls = list(self._calls.values())
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self.store.close()
