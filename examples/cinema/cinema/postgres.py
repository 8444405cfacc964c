"""A small PostgreSQL pool that outlives a failover."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

T = TypeVar("T")

# What a connection says when its server dies, restarts, or has become a replica.
GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.InterfaceError,
    # What asyncpg says when the server's farewell arrives just as a statement is sent.
    asyncpg.InternalClientError,
    OSError,
)
PATIENCE = 3.0


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    # Nothing here changes session state, so there is nothing to reset: a round trip less per query.
    def get_reset_query(self) -> str:
        return ""


class Database:
    """`async with Database(url) as database`. Every statement may run twice, so each must be idempotent.

    It may be entered again, after a failure or by a second lifespan beside the first: it is closed when the last one
    has left, and a pool that something else closed is made anew.
    """

    def __init__(
        self, url: str | None, *, name: str, largest: int = 4, settings: Mapping[str, str] | None = None
    ) -> None:
        if not url:
            raise RuntimeError(f"{name} needs DATABASE_URL")
        self._make: Callable[[], asyncpg.Pool] = lambda: asyncpg.create_pool(
            url,
            min_size=1,
            max_size=largest,
            max_inactive_connection_lifetime=300,
            connection_class=_Connection,
            command_timeout=5,
            timeout=3,
            server_settings={"application_name": name, "jit": "off", **(settings or {})},
        )
        self._pool: asyncpg.Pool
        self._inside = 0

    async def __aenter__(self) -> Database:
        self._inside += 1
        # The pool is made here, not in __init__, since it belongs to the event loop that runs it.
        if self._inside == 1:
            self._pool = self._make()
        try:
            await self._retrying(lambda: _opened(self._pool), patience=15.0)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._inside -= 1
        if self._inside:
            return
        try:
            await asyncio.wait_for(self._pool.close(), 2)
        except TimeoutError:
            self._pool.terminate()

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._retrying(lambda: self._pool.fetch(query, *arguments))

    async def row(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        return await self._retrying(lambda: self._pool.fetchrow(query, *arguments))

    async def execute(self, query: str, *arguments: Any) -> str:
        return await self._retrying(lambda: self._pool.execute(query, *arguments))

    async def check(self) -> None:
        """For a health check: raises when the database doesn't answer. The deadline is the caller's."""
        await self._retrying(lambda: self._pool.fetchval("select 1"))

    def connection(self) -> PoolConnectionProxy:
        """`async with database.connection() as c:` for what does not fit one statement. Not retried."""
        return self._pool.acquire()

    async def _retrying(self, call: Callable[[], Awaitable[T]], patience: float = PATIENCE) -> T:
        loop = asyncio.get_running_loop()
        until = loop.time() + patience
        while True:
            try:
                return await call()
            except GONE as error:
                if loop.time() >= until:
                    raise
                if "pool is clos" in str(error):
                    if not self._inside:
                        raise
                    self._pool = self._make()
                    await _opened(self._pool)
                    continue
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    # The old primary came back as a replica: look for the new one.
                    await self._pool.expire_connections()
                await asyncio.sleep(0.05)


async def _opened(pool: asyncpg.Pool) -> None:
    await pool
