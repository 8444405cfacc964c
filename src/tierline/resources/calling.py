"""Calling another service: the same line of code is a call in this process when it is here, HTTP when it isn't.

What the journeys' parts have, for any application: pooled connections to all instances, the nearest first; deadline
and trace travel along; what is safe is tried once more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tierline.errors import RunError
from tierline.journeys.fault import DeadlineExceeded
from tierline.journeys.frame import frame
from tierline.journeys.service import ServiceClient, ServiceReply, Transport
from tierline.journeys.target import target_of

if TYPE_CHECKING:
    from tierline.journeys.http import HTTP

Addresses = Iterable[tuple[str, int]]


class Here:
    """What the runner of this process knows of the services: who is in it, and where the others are."""

    def __init__(self) -> None:
        self.applications: dict[str, Callable[[], Transport | None]] = {}
        """Services of this process; a transport once they have started."""
        self.elsewhere: dict[str, tuple[tuple[str, int], ...]] = {}
        self.pools: dict[str, HTTP] = {}
        self.used = False
        """Whether an application here calls others: only then requests carry their deadline along."""

    def told(self, elsewhere: Mapping[str, Addresses]) -> None:
        """Where the other services are now. Connections to instances that stay are kept."""
        self.elsewhere = {name: tuple(addresses) for name, addresses in elsewhere.items()}
        for name, pool in self.pools.items():
            if name in self.elsewhere:
                pool.set_addresses(list(self.elsewhere[name]))


here = Here()


class Handle:
    """`await catalog.get("/films/{id}", id=7, limit=5)`: the path's values are filled in, the rest is the query.

    A reply of 400 or more raises ServiceError, unless its status is in `allow=(404,)`; no instance in time is
    Unreachable or DeadlineExceeded (all from `tierline.journeys`). `post`, `put` and `patch` take `json=` or `body=`.
    Idempotent calls, and those of which nothing was sent, are tried once more, at most one in ten.

    timeout: seconds, where the request that is being answered brings no deadline. most: largest reply in bytes.
    """

    def __init__(self, name: str, *, timeout: float = 30.0, most: int = 8 << 20) -> None:
        self.name = name
        self._timeout = timeout
        self._most = most
        self._made: tuple[bool, ServiceClient] | None = None
        here.used = True

    def __repr__(self) -> str:
        return f"service({self.name!r})"

    @property
    def told(self) -> bool:
        """Whether it is known where this service is: it may not be, without a line."""
        return bool(self.name in here.applications or here.elsewhere.get(self.name) or self._variable())

    async def get(
        self, path: str, *, allow: Iterable[int] = (), headers: Mapping[str, str] | None = None, **values: Any
    ) -> ServiceReply:
        """GET. Unlike in a journey, equal calls of one request are made each time."""
        call = self._client().request("GET", target_of(path, values), allow=allow, headers=headers)
        return await self._in_time(call)

    async def post(self, path: str, *, json: Any = None, body: bytes = b"", **rest: Any) -> ServiceReply:
        """Never repeated once it may have been sent."""
        return await self._in_time(self._client().post(path, json=json, body=body, **rest))

    async def put(self, path: str, *, json: Any = None, body: bytes = b"", **rest: Any) -> ServiceReply:
        return await self._in_time(self._client().put(path, json=json, body=body, **rest))

    async def patch(self, path: str, *, json: Any = None, body: bytes = b"", **rest: Any) -> ServiceReply:
        return await self._in_time(self._client().patch(path, json=json, body=body, **rest))

    async def delete(self, path: str, **rest: Any) -> ServiceReply:
        return await self._in_time(self._client().delete(path, **rest))

    async def _in_time(self, call: Coroutine[Any, Any, ServiceReply]) -> ServiceReply:
        """A call in this process is cancelled at its deadline, as one over HTTP is given up."""
        around = frame.get()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout if around is None else around.deadline
        try:
            async with asyncio.timeout_at(until):
                return await call
        except TimeoutError:
            raise DeadlineExceeded(f"{self.name} did not answer within the deadline") from None

    def _variable(self) -> str:
        return os.environ.get(self.name.upper().replace("-", "_") + "_URL", "")

    def _client(self) -> ServiceClient:
        inside = self.name in here.applications
        if self._made is None or self._made[0] != inside:
            self._made = (
                inside,
                ServiceClient(self.name, self._transport(), most=self._most, timeout=self._timeout),
            )
        return self._made[1]

    def _transport(self) -> Transport:
        if self.name in here.applications:
            transport = here.applications[self.name]()
            if transport is None:
                raise RunError(
                    f"service({self.name!r}) is in this process and has not started yet: call it in requests, not at start-up"
                )
            return transport
        from tierline.journeys.http import HTTP

        pool = here.pools.get(self.name)
        if pool is None:
            known: Addresses = here.elsewhere.get(self.name, ())
            if not known and (url := self._variable()):
                known = ((url, 0),)
            if not known:
                variable = self.name.upper().replace("-", "_") + "_URL"
                raise RunError(
                    f"service({self.name!r}): nobody told where it is; write uses=[{self.name!r}] on the service that "
                    f"calls it, or set {variable}"
                )
            pool = here.pools[self.name] = HTTP(list(known), name=self.name)
        return pool


def service(name: str, *, timeout: float = 30.0, most: int = 8 << 20) -> Handle:
    """A handle for the service of this name; nothing is opened before the first call."""
    return Handle(name, timeout=timeout, most=most)
