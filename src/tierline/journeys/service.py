"""Calling a service: the same line of code is a function call in the same process, or HTTP elsewhere."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, TypeVar, overload

import msgspec

from tierline.errors import StackError
from tierline.journeys.attempt import attempt, pause
from tierline.journeys.fault import (
    DeadlineExceeded,
    JourneyError,
    ServiceError,
    TooLarge,
    TooManyCalls,
    Unreachable,
)
from tierline.journeys.frame import Frame, frame
from tierline.journeys.target import checked, target_of
from tierline.trips.record import current

T = TypeVar("T")

DEADLINE = b"x-request-deadline-ms"
"""How many milliseconds are left for the answer; every hop passes on what remains."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
IDEMPOTENT = SAFE | {"PUT", "DELETE"}
_AGAIN = frozenset({502, 503, 504})
_BUDGET, _REFUND = 10.0, 0.1
"""Calls may be repeated ten times at once, then one in ten: a service that is down is not asked twice as often."""

_SOON = 0.05
"""Seconds of `Retry-After` that a call waits by itself."""
IDEMPOTENCY_KEY = b"idempotency-key"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_HEADER = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class ServiceReply:
    """What a service answered."""

    __slots__ = ("body", "headers", "service", "status")

    def __init__(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, service: str = ""
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.service = service

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, kind: type[T]) -> T: ...
    def json(self, kind: Any = None) -> Any:
        """The body's JSON, as `kind` when given. Raises ServiceError for anything else."""
        try:
            return _decode(self.body) if kind is None else msgspec.json.decode(self.body, type=kind)
        except msgspec.DecodeError as error:
            raise ServiceError(
                self.service, f"its reply is not the JSON that was expected: {error}"
            ) from None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def header(self, name: str) -> str | None:
        """A header's value; the first, when there are several."""
        wanted = name.lower().encode("latin-1")
        return next((value.decode("latin-1") for key, value in self.headers if key == wanted), None)


class Call:
    """One request to a service. `target` is path and query; `within` is what is left, in seconds.

    `most` is the largest reply that is taken, in bytes.
    """

    __slots__ = ("body", "headers", "method", "most", "target", "within")

    def __init__(
        self,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        within: float,
        most: int,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.within = within
        self.most = most


class Transport:
    """A way to a service. Raises ServiceError when there is no reply, Unreachable when nothing was sent."""

    async def request(self, call: Call) -> ServiceReply:
        raise NotImplementedError

    async def open(self) -> None:
        """Called when the application starts."""

    async def close(self) -> None:
        """Called when the application stops."""


_NOT_FORWARDED = frozenset(
    (
        "host", "content-length", "content-type", "transfer-encoding", "connection", "te", "upgrade", "keep-alive",
        "trailer", "expect", "idempotency-key", "traceparent",
    )
)  # fmt: skip
_MOST_CALLS = 200
"""Calls of one request: more are a loop that should be a look-up."""


class _Shared:
    """A call that equal calls of the same request join."""

    __slots__ = ("reply", "waiters")

    def __init__(self) -> None:
        self.reply: ServiceReply | None = None
        self.waiters: list[asyncio.Future[ServiceReply | None]] | None = None


class ServiceClient:
    """A service as parts see it: `(await catalog.get("/films/{id}", id=film_id)).json()`.

    A reply of 400 or more raises ServiceError, unless its status is in `allow`. Deadline and trace travel
    along.
    A call is tried once more only when that is safe: the method is idempotent, or nothing was sent; and only
    as long as few calls need it.

    most: the largest reply in bytes. timeout: seconds for a call that no deadline bounds.
    forward: the client's header fields that go with every call, such as `authorization` or `accept-language`.
    """

    __slots__ = ("_budget", "_most", "_retries", "_timeout", "_transport", "forward", "name")

    def __init__(
        self,
        name: str,
        transport: Transport,
        *,
        most: int = 8 * 1024 * 1024,
        timeout: float = 30.0,
        retries: int = 1,
        forward: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.forward = tuple(header.lower() for header in forward)
        for header in self.forward:
            if header in _NOT_FORWARDED or not _TOKEN.fullmatch(header.encode("latin-1", "replace")):
                raise StackError(
                    f"service {name!r}, forward: {header!r} is not a field that can be passed on"
                )
        self._transport = transport
        self._most = most
        self._timeout = timeout
        self._retries = retries
        self._budget = _BUDGET

    def __repr__(self) -> str:
        return f"ServiceClient({self.name!r})"

    @property
    def transport(self) -> Transport:
        return self._transport

    async def get(
        self, path: str, *, allow: Iterable[int] = (), headers: Mapping[str, str] | None = None, **values: Any
    ) -> ServiceReply:
        """GET; an equal one of the same request is made once."""
        target = target_of(path, values)
        scope = frame.get()
        if scope is None or headers:
            return await self.request("GET", target, allow=allow, headers=headers)
        key = (self.name, target)
        if key in scope.shared or attempt.get() is not None:
            return await self._joined(scope, key, allow)
        mine = scope.shared[key] = _Shared()
        try:
            # `_send` and `_checked`, written out: this is the way of nearly every call.
            call = self._call(scope, "GET", target, b"", [])
            try:
                reply = await self._transport.request(call)
            except ServiceError as error:
                reply = await self._again(scope, call, error, True)
            if reply.status >= 400 or len(reply.body) > self._most:
                reply = self._checked(await self._again(scope, call, reply, True), allow)
            reply.service = self.name
            mine.reply = reply
            return reply
        finally:
            if mine.reply is None or mine.waiters is not None:
                self._ended(scope, key, mine)

    async def _joined(self, scope: Frame, key: tuple[Any, ...], allow: Iterable[int]) -> ServiceReply:
        """A GET that equal ones of the same request made, or make, or that is another attempt of its part."""
        first, current = key, attempt.get()
        if current is not None and current.number:
            # Another attempt asks anew; only what has succeeded is not asked for again.
            done = scope.shared.get(key)
            if done is not None and done.reply is not None:
                return self._checked(done.reply, allow)
            key = (*key, current.number)
        shared: _Shared | None
        while (shared := scope.shared.get(key)) is not None:
            if shared.reply is not None:
                return self._checked(shared.reply, allow)
            turn: asyncio.Future[ServiceReply | None] = asyncio.get_running_loop().create_future()
            if shared.waiters is None:
                shared.waiters = [turn]
            else:
                shared.waiters.append(turn)
            reply = await turn
            if reply is not None:
                return self._checked(reply, allow)
        mine = scope.shared[key] = _Shared()
        try:
            reply = await self._send("GET", key[1], b"", [], True)
            if reply.status < 400 or reply.status in allow:
                mine.reply = reply
                if scope.shared.get(key) is mine:
                    scope.shared[first] = mine
            return self._checked(reply, allow)
        finally:
            self._ended(scope, key, mine)

    def _ended(self, scope: Frame, key: tuple[Any, ...], mine: _Shared) -> None:
        if mine.reply is None and scope.shared.get(key) is mine:
            # It failed or was cancelled: whoever waits makes the call itself, within its own deadline.
            del scope.shared[key]
        for turn in mine.waiters or ():
            if not turn.done():
                turn.set_result(mine.reply)

    async def post(self, path: str, *, json: Any = None, body: bytes = b"", **rest: Any) -> ServiceReply:
        """POST, not repeated once it may have been sent, unless `headers=` brings an `Idempotency-Key`: then the service knows
        keys. That an effect's calls carry one says nothing of that."""
        return await self._with_body("POST", path, json, body, rest)

    async def put(self, path: str, *, json: Any = None, body: bytes = b"", **rest: Any) -> ServiceReply:
        return await self._with_body("PUT", path, json, body, rest)

    async def patch(self, path: str, *, json: Any = None, body: bytes = b"", **rest: Any) -> ServiceReply:
        return await self._with_body("PATCH", path, json, body, rest)

    async def delete(self, path: str, **rest: Any) -> ServiceReply:
        return await self._with_body("DELETE", path, None, b"", rest)

    async def _with_body(
        self, method: str, path: str, json: Any, body: bytes, rest: dict[str, Any]
    ) -> ServiceReply:
        allow = rest.pop("allow", ())
        headers = rest.pop("headers", None)
        return await self.request(
            method, target_of(path, rest), json=json, body=body, allow=allow, headers=headers
        )

    async def request(
        self,
        method: str,
        target: str,
        *,
        json: Any = None,
        body: bytes = b"",
        allow: Iterable[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> ServiceReply:
        """Any request; `target` is path and query, already quoted."""
        checked(target)
        sent: list[tuple[bytes, bytes]] = []
        for name, value in (headers or {}).items():
            pair = (name.lower().encode("latin-1"), value.encode("latin-1"))
            if not _TOKEN.fullmatch(pair[0]) or not _HEADER.fullmatch(pair[1]):
                raise ValueError(f"header {name!r} holds characters that no header may")
            sent.append(pair)
        if json is not None:
            body = _encode(json)
            sent.append((b"content-type", b"application/json"))
        repeatable = method in IDEMPOTENT or any(name == IDEMPOTENCY_KEY for name, _ in sent)
        if method in SAFE:
            return self._checked(await self._send(method, target, body, sent, repeatable), allow)
        if method not in IDEMPOTENT:
            self._once(sent)
        self._forget()
        try:
            return self._checked(await self._send(method, target, body, sent, repeatable), allow)
        finally:
            self._forget()

    def _forwarded(self, scope: Frame, headers: list[tuple[bytes, bytes]]) -> None:
        """The client's own fields, unless the call brings its own."""
        client: Mapping[bytes, bytes] = scope.shared.get("headers", {})
        own = {name for name, _ in headers}
        for header in self.forward:
            name = header.encode("latin-1")
            if name in client and name not in own:
                headers.append((name, client[name]))

    def _once(self, sent: list[tuple[bytes, bytes]]) -> None:
        """A call that may not be made twice gets its effect's key; without one, its part isn't tried again."""
        current = attempt.get()
        if current is None or any(name == IDEMPOTENCY_KEY for name, _ in sent):
            return
        if current.key:
            sent.append((IDEMPOTENCY_KEY, current.next_key().encode("latin-1")))
        elif current.rival is not None and current.rival.wrote:
            raise JourneyError(f"{self.name}: the other one of two hedged calls has sent this already")
        else:
            current.wrote = True

    def _forget(self) -> None:
        """What was read from this service before a write is old."""
        scope = frame.get()
        if scope is not None:
            scope.shared["writes"] = scope.shared.get("writes", 0) + 1
            scope.shared.setdefault("wrote", {})[self.name] = time.time()
            for key in [key for key in scope.shared if type(key) is tuple and key[0] == self.name]:
                del scope.shared[key]

    def _checked(self, reply: ServiceReply, allow: Iterable[int]) -> ServiceReply:
        if reply.status >= 400 and reply.status not in allow:
            said = reply.body[:200].decode("utf-8", "replace")
            # What a service says of its own failure is for its owners; what it says of the request is for who asked.
            raise ServiceError(
                self.name,
                f"{reply.status} {said}".rstrip(),
                reply_status=reply.status,
                body=reply.body,
                told=f"it answered {reply.status}",
                retry_after=pause(reply.header("retry-after")),
            )
        return reply

    def _call(
        self, scope: Frame | None, method: str, target: str, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> Call:
        """The call as its transport gets it: with trace, forwarded fields and what is left of the deadline."""
        if self._budget < _BUDGET:
            self._budget = min(_BUDGET, self._budget + _REFUND)
        if (span := current.get()) is not None:
            headers.append((b"traceparent", span.traceparent.encode()))
        if scope is None:
            return Call(method, target, headers, body, self._timeout, self._most)
        shared = scope.shared
        shared["calls"] = count = shared.get("calls", 0) + 1
        if count > (most := shared.get("most", _MOST_CALLS)):
            raise TooManyCalls(
                f"{self.name}: more than {most} calls in one request; make one of them with @journey.batch, or "
                "allow more with Journey(most_calls=…)"
            )
        if self.forward:
            self._forwarded(scope, headers)
        left = self._left(scope, method, target)
        headers.append((DEADLINE, b"%d" % (left * 1000 + 1)))
        return Call(method, target, headers, body, left, self._most)

    def _left(self, scope: Frame, method: str, target: str) -> float:
        left = scope.deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise DeadlineExceeded(f"{self.name}: no time is left for {method} {target}")
        return self._timeout if left == inf else left

    async def _send(
        self, method: str, target: str, body: bytes, headers: list[tuple[bytes, bytes]], repeatable: bool
    ) -> ServiceReply:
        scope = frame.get()
        call = self._call(scope, method, target, body, headers)
        outcome: ServiceReply | ServiceError
        try:
            outcome = await self._transport.request(call)
        except ServiceError as error:
            outcome = error
        return await self._again(scope, call, outcome, repeatable)

    async def _again(
        self, scope: Frame | None, call: Call, outcome: ServiceReply | ServiceError, repeatable: bool
    ) -> ServiceReply:
        """What the call's first answer or failure comes to: it is repeated where that is safe and may help."""
        tries = self._retries
        while True:
            spent = tries <= 0 or self._budget < 1
            if isinstance(outcome, ServiceReply):
                if len(outcome.body) > self._most:
                    raise TooLarge(
                        f"{self.name}: its reply is larger than {self._most} bytes", service=self.name
                    )
                outcome.service = self.name
                if outcome.status not in _AGAIN or spent or not repeatable:
                    return outcome
                if (wait := pause(outcome.header("retry-after"))) is not None:
                    # It said when to come back: the part's own retries, or the client, will.
                    if wait > _SOON:
                        return outcome
                    await asyncio.sleep(wait)
            elif spent or not outcome.retryable or not (repeatable or isinstance(outcome, Unreachable)):
                raise outcome
            tries -= 1
            self._budget -= 1
            if scope is not None:
                call.within = self._left(scope, call.method, call.target)
                kept = [pair for pair in call.headers if pair[0] != DEADLINE]
                call.headers = [*kept, (DEADLINE, b"%d" % (call.within * 1000 + 1))]
            try:
                outcome = await self._transport.request(call)
            except ServiceError as error:
                outcome = error
