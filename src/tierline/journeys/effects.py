"""Effects: each done once for an idempotency key, its value kept for a day, undone when a later one fails."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import secrets
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.journeys.attempt import Attempt, attempt
from tierline.journeys.binding import called
from tierline.journeys.fault import BadInput, Conflict, JourneyError, ServiceError, Unreachable
from tierline.journeys.frame import Frame, frame
from tierline.journeys.guard import limited
from tierline.journeys.reply import Reply
from tierline.journeys.store import Store
from tierline.journeys.tags import filled

if TYPE_CHECKING:
    from tierline.journeys.engine import Engine
    from tierline.journeys.journey import Journey
    from tierline.journeys.plan import Node, Plan
    from tierline.journeys.request import Request
    from tierline.journeys.run import Run

log = logging.getLogger("tierline.journeys")

KEPT = 86400.0
"""Seconds for which an effect's value is given again for the same key."""
_LOCKED = 30.0
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Record(msgspec.Struct, array_like=True):
    """What has been done under one key: a digest of the request, and each effect's value."""

    digest: bytes
    values: dict[str, msgspec.Raw] = {}
    reply: Reply[None] | None = None
    """Status and fields that the latest effect with a Reply asked for."""
    undone: dict[str, int] = {}
    """How often an effect has been undone: done again, it is another one for its service."""
    undoing: list[str] = []
    """Effects whose compensation has begun and not ended with a clear answer: nobody knows whether they still hold."""


_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Write:
    """One request's effects under their idempotency key."""

    __slots__ = ("_id", "_store", "_token", "digest", "key", "made", "record")

    def __init__(
        self,
        store: Store,
        journey: Journey,
        key: str,
        digest: bytes,
        owner: str,
        made: str,
        known: bool = False,
    ) -> None:
        whose = hashlib.blake2b(f"{owner}\0{key}".encode(), digest_size=16).hexdigest()
        self._id = f"effect:{journey.name}:{whose}"
        self._store = store
        self._token = b""
        # To a service all callers are one: the key that a client chose must not meet another's there. Where nobody knows the
        # caller, as when the answer with the cookie was lost, the key alone tells that it is the same request.
        apart = f"{journey.name}\0{owner}\0{key}".encode()
        self.key = hashlib.blake2b(apart, digest_size=16).hexdigest() if known else key
        """What the services' calls carry."""
        self.digest = digest
        self.made = made
        """What the session keeps the key under; "" for a client's own key."""
        self.record = Record(digest)

    async def begin(self, within: float, lasts: float) -> None:
        """Waits for another request with the same key, then reads what has been done. Raises Conflict for a key of
        another request, and where the other one takes longer than this one has time. lasts: seconds that its effects
        may take."""
        try:
            await self._locked(within, lasts)
            found = await self._store.get(self._id)
            if found is not None:
                self.record = _decode(found)
                if self.record.digest != self.digest:
                    raise Conflict(
                        "this Idempotency-Key was sent with another request before; make a new one"
                    )
        except BaseException:
            await self.end()
            raise

    async def _locked(self, within: float, lasts: float) -> None:
        self._token = secrets.token_bytes(8)
        until = time.monotonic() + within
        while not await self._store.add(f"{self._id}:lock", self._token, _LOCKED + lasts):
            if time.monotonic() > until:
                raise Conflict("a request with this Idempotency-Key has not ended yet", retry_after=1)
            await asyncio.sleep(0.01)

    async def keep(self, name: str, value: Any) -> None:
        """Notes that an effect has been done."""
        self.record.values[name] = msgspec.Raw(_encode(value))
        await self._store.put(self._id, _encode(self.record), KEPT)

    async def undoes(self, name: str) -> None:
        """Notes that an effect may not hold any more from now on, whatever becomes of this process."""
        if name not in self.record.undoing:
            self.record.undoing.append(name)
            await self._store.put(self._id, _encode(self.record), KEPT)

    async def undone(self, name: str) -> None:
        del self.record.values[name]
        self.record.undone[name] = self.record.undone.get(name, 0) + 1
        await self.holds(name)

    async def holds(self, name: str) -> None:
        """Notes that it is clear again whether an effect holds."""
        if name in self.record.undoing:
            self.record.undoing.remove(name)
        await self._store.put(self._id, _encode(self.record), KEPT)

    def value(self, name: str, kind: Any) -> Any:
        """What an effect returned, as its type; as it is where it was of another one the first time too."""
        try:
            return msgspec.msgpack.decode(self.record.values[name], type=kind)
        except msgspec.ValidationError:
            return msgspec.msgpack.decode(self.record.values[name])

    def key_of(self, name: str, first: str) -> str:
        """What the calls of an effect carry."""
        key = self.key if name == first else f"{self.key}.{name}"
        again = self.record.undone.get(name, 0)
        return f"{key}~{again}" if again else key

    async def end(self) -> None:
        """Lets the next request with this key go on."""
        try:
            if self._token and await self._store.get(f"{self._id}:lock") == self._token:
                await self._store.drop(f"{self._id}:lock")
        except Exception:
            log.warning("an effect's lock could not be released; it is void after a while", exc_info=True)


def digest_of(request: Request, body: bytes) -> bytes:
    """Tells requests apart that bring the same key."""
    about = [request.method, request.path, request.scope["query_string"], body]
    return hashlib.blake2b(_encode(about), digest_size=16).digest()


def given_key(request: Request) -> str:
    """The request's `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header), "" without one."""
    text = request.header("idempotency-key")
    if text and not _KEY.fullmatch(text):
        why = "is 1 to 255 visible ASCII characters"
        raise BadInput([{"in": "header", "field": "idempotency-key", "given": text[:100], "why": why}])
    return text


def perform(node: Node, run: Run) -> Coroutine[Any, Any, Any]:
    """An effect with its key; the value from before where it has been done."""
    return _perform(node, run)


async def _perform(node: Node, run: Run) -> Any:
    write: Write = run.frame.shared["write"]
    if node.name in write.record.values:
        return write.value(node.name, node.returns)
    attempt.set(Attempt(key=write.key_of(node.name, run.plan.shape.effects[0])))
    try:
        value = await limited(node, run)
    finally:
        # Also where it failed: nobody knows then what its service has done.
        await dropped(run.engine, run.plan, node.name, run.values)
    if isinstance(value, Reply):
        write.record.reply = Reply(
            None, value.status, value.headers, value.cookies, value.location, value.external
        )
        value = value.body
    if node.check is None or isinstance(value, node.check):
        await write.keep(node.name, value)
    return value


async def dropped(engine: Engine, plan: Plan, name: str, values: list[Any]) -> None:
    """What the effect makes old is old."""
    if drops := plan.journey.parts[name].policy.drops:
        given = plan.shape.functions[name].parameters
        await engine.drop(filled(drops, {p.name: values[plan.slots[p.name]] for p in given}))


def _unclear(error: Exception) -> bool:
    """Whether a compensation that failed so may have been carried out all the same."""
    if isinstance(error, Unreachable):
        return False
    if isinstance(error, ServiceError) and 400 <= error.reply_status < 500:
        return False
    return not isinstance(error, JourneyError) or error.status >= 500


async def resume(
    plan: Plan, values: list[Any], write: Write, shared: dict[Any, Any], engine: Engine
) -> list[str]:
    """Ends what an earlier request with this key began to undo. The names of effects that stay done."""
    for name in plan.shape.effects:
        if name in write.record.values and name in plan.slots:
            values[plan.slots[name]] = write.value(name, plan.shape.functions[name].returns)
    return await compensate(plan, values, write, shared, engine, only=frozenset(write.record.undoing))


async def compensate(
    plan: Plan,
    values: list[Any],
    write: Write,
    shared: dict[Any, Any],
    engine: Engine,
    only: frozenset[str] | None = None,
) -> list[str]:
    """Undoes what has been done, last first. The names of effects that stay done.

    shared: what their calls need to know. Each has as long as the journey has: what failed may have had no time left.
    only: these effects; default: all that have been done.
    """
    within = plan.journey.deadline
    done = [name for name in plan.shape.effects if name in write.record.values]
    stays: list[str] = []
    for name in reversed(done):
        if only is not None and name not in only:
            stays.append(name)
            continue
        function = plan.shape.compensations.get(name)
        if function is None:
            stays.append(name)
            continue
        undo = plan.shape.journey.compensations[name].function
        again = write.record.undone.get(name, 0)
        attempt.set(Attempt(key=f"{write.key}.{name}.undo{again or ''}"))
        frame.set(Frame(asyncio.get_running_loop().time() + within, dict(shared)))
        try:
            await write.undoes(name)
            async with asyncio.timeout(within):
                result = called(function.parameters, plan.slots, undo)(values)
                if asyncio.iscoroutine(result):
                    await result
            await write.undone(name)
            await dropped(engine, plan, name, values)
        except Exception as error:
            log.exception("journey %s: effect %s could not be undone", plan.journey.name, name)
            stays.append(name)
            if not _unclear(error):
                await write.holds(name)
    return stays[::-1]


@contextlib.asynccontextmanager
async def ended(write: Write) -> Any:
    try:
        yield
    finally:
        await write.end()
