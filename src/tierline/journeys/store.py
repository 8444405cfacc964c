"""Where cached answers and sessions are kept: in this process, or shared in Redis or Valkey."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any, Protocol


class Store(Protocol):
    """A small key-value store with expiry. `get` answers None for what is not there, or no longer."""

    async def get(self, key: str) -> bytes | None: ...
    async def put(self, key: str, value: bytes, ttl: float) -> None: ...
    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        """Puts it where there is nothing, and says whether it did."""
        ...

    async def drop(self, key: str) -> None: ...
    async def close(self) -> None: ...


async def get_many(store: Store, keys: list[str]) -> list[bytes | None]:
    """Several values in the order of their keys; in one round trip where the store has a `get_many`."""
    if not keys:
        return []
    several = getattr(store, "get_many", None)
    if several is None:
        return [await store.get(key) for key in keys]
    found: list[bytes | None] = await several(keys)
    return found


class MemoryStore:
    """Keeps the most recently used values of one process, up to a number of bytes."""

    def __init__(self, most_bytes: int = 64 * 1024 * 1024) -> None:
        self._most = most_bytes
        self._size = 0
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        found = self._values.get(key)
        if found is None:
            return None
        if found[0] <= time.monotonic():
            self._remove(key)
            return None
        self._values.move_to_end(key)
        return found[1]

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._remove(key)
        if ttl <= 0 or len(value) > self._most:
            return
        self._values[key] = (time.monotonic() + ttl, value)
        self._size += len(value) + len(key)
        while self._size > self._most:
            self._remove(next(iter(self._values)))

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        if await self.get(key) is not None:
            return False
        await self.put(key, value, ttl)
        return True

    async def drop(self, key: str) -> None:
        self._remove(key)

    async def close(self) -> None:
        self._values.clear()
        self._size = 0

    def _remove(self, key: str) -> None:
        found = self._values.pop(key, None)
        if found is not None:
            self._size -= len(found[1]) + len(key)


class RedisStore:
    """Shared by all processes: Redis, Valkey, or anything that speaks their protocol.

    A store that is slow or gone counts as empty: a request never fails because of its cache. After a failure
    it is left alone for `pause` seconds; after a refusal (it is full, or only reads) it isn't: what it has is still
    there. `strict` raises instead, for sessions.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "tierline:",
        timeout: float = 0.1,
        pause: float = 1.0,
        strict: bool = False,
    ) -> None:
        self._url = url
        self._prefix = prefix
        self._timeout = timeout
        self._pause = pause
        self._strict = strict
        self._quiet_until = 0.0
        self._client: Any = None

    def _redis(self) -> Any:
        if self._client is None:
            import redis.asyncio

            self._client = redis.asyncio.Redis.from_url(
                self._url, socket_timeout=self._timeout * 10, socket_connect_timeout=self._timeout * 10
            )
        return self._client

    async def _do(self, word: str, *values: Any) -> Any:
        if not self._strict and time.monotonic() < self._quiet_until:
            return None
        try:
            async with asyncio.timeout(self._timeout if not self._strict else self._timeout * 10):
                return await getattr(self._redis(), word)(*values)
        except Exception as error:
            if self._strict:
                raise
            if not _refused(error):
                self._quiet_until = time.monotonic() + self._pause
            return None

    async def get(self, key: str) -> bytes | None:
        found = await self._do("get", self._prefix + key)
        return found if isinstance(found, bytes) else None

    async def get_many(self, keys: list[str]) -> list[bytes | None]:
        found = await self._do("mget", [self._prefix + key for key in keys])
        return [each if isinstance(each, bytes) else None for each in found or [None] * len(keys)]

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        if ttl > 0:
            await self._do("psetex", self._prefix + key, max(1, int(ttl * 1000)), value)

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        return bool(await self._do("set", self._prefix + key, value, None, max(1, int(ttl * 1000)), True))

    async def drop(self, key: str) -> None:
        await self._do("delete", self._prefix + key)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _refused(error: Exception) -> bool:
    """Whether the store is well, and said no (RESP's `-OOM`, `-READONLY`, …)."""
    import redis.exceptions

    return isinstance(error, redis.exceptions.ResponseError) and not isinstance(
        error, redis.exceptions.AuthenticationError
    )


def store(where: Any, *, strict: bool = False) -> Store:
    """A Store from a URL (`memory:`, `redis://…`), or the store itself."""
    if where is None or where == "memory:":
        return MemoryStore()
    if isinstance(where, str):
        return RedisStore(where.replace("valkey://", "redis://", 1), strict=strict)
    found: Store = where
    return found
