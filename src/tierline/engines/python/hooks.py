"""Hops of what applications call: database, cache, messages, buckets, mail.

Applications import nothing from tierline, so their client libraries are watched: each library's one narrow
place that every call passes. A call outside a sampled request costs one context variable look-up. A library
is touched only once the application has imported it.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from tierline.engines.python import mending
from tierline.trips.record import current, hop

_resources: Mapping[str, tuple[str, str]] = {}


def install(resources: Mapping[str, tuple[str, str]]) -> None:
    """Watch the libraries from now on. `resources`: `host:port`, or `host:port/database`, → role and system."""
    global _resources
    _resources = resources
    if any(isinstance(each, _AfterImport) for each in sys.meta_path):
        return
    for name, patch in _PATCHES.items():
        if name in sys.modules:
            patch(sys.modules[name])
    sys.meta_path.insert(0, _AfterImport())


class _AfterImport(importlib.abc.MetaPathFinder):
    """Patches a library right after its own import has finished."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _PATCHES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            loader = spec.loader
            run = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                _PATCHES[name](module)

            loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _wrapped(
    owner: Any, method: str, tier: str, system: str, describe: Callable[..., tuple[str, str]]
) -> None:
    """Replace an async method by one that records a hop. `describe(self, *args)` gives a name and host:port[/database]."""
    original = getattr(owner, method)

    @functools.wraps(original)
    async def watched(self: Any, *args: Any, **named: Any) -> Any:
        span = current.get()
        if span is None or not span.sampled:
            return await original(self, *args, **named)
        name, address = describe(self, *args)
        server = address.partition("/")[0]
        role, plays = _resources.get(address) or _resources.get(server, ("", system))
        with hop(tier, plays, name=name, verdict=role.partition(".")[2] or "ok") as h:
            h.attributes = {"server.address": server, "tierline.role": role}
            return await original(self, *args, **named)

    setattr(owner, method, watched)


def _asyncpg(module: ModuleType) -> None:
    from asyncpg.connection import Connection

    def describe(self: Any, query: Any, *_: Any) -> tuple[str, str]:
        address = self._addr
        at = (
            f"{address[0]}:{address[1]}/{self._params.database}"
            if isinstance(address, tuple)
            else str(address)
        )
        return _statement(str(query)), at

    _wrapped(Connection, "_execute", "domain", "postgresql", describe)


def _psycopg(module: ModuleType) -> None:
    from psycopg import AsyncCursor

    def describe(self: Any, query: Any, *_: Any) -> tuple[str, str]:
        info = self.connection.info
        return _statement(str(query)), f"{info.host}:{info.port}/{info.dbname}"

    _wrapped(AsyncCursor, "execute", "domain", "postgresql", describe)


def _redis(module: ModuleType) -> None:
    from redis.asyncio import Redis
    from redis.asyncio.client import Pipeline

    def address(self: Any) -> str:
        given = self.connection_pool.connection_kwargs
        return f"{given.get('host', '')}:{given.get('port', '')}"

    def describe(self: Any, *args: Any) -> tuple[str, str]:
        return " ".join(str(arg) for arg in args[:1]), address(self)

    _wrapped(Redis, "execute_command", "core", "valkey", describe)
    _wrapped(Pipeline, "execute", "core", "valkey", lambda self, *_: ("pipeline", address(self)))


def _nats(module: ModuleType) -> None:
    from nats.js.client import JetStreamContext

    def describe(self: Any, subject: str, *_: Any) -> tuple[str, str]:
        url = self._nc.connected_url
        return f"publish {subject}", url.netloc.rpartition("@")[2] if url else ""

    _wrapped(JetStreamContext, "publish", "feature", "nats", describe)


def _httpx(module: ModuleType) -> None:
    def describe(self: Any, request: Any, *_: Any) -> tuple[str, str]:
        span = current.get()
        if span is not None:
            request.headers.setdefault("traceparent", span.traceparent)
        return f"{request.method} {request.url.path}", f"{request.url.host}:{request.url.port or 80}"

    _wrapped(module.AsyncClient, "send", "feature", "http", describe)


def _aiobotocore(module: ModuleType) -> None:
    def describe(self: Any, operation: str, *_: Any) -> tuple[str, str]:
        return operation, self.meta.endpoint_url.partition("//")[2]

    _wrapped(module.AioBaseClient, "_make_api_call", "feature", "s3", describe)


def _smtplib(module: ModuleType) -> None:
    original = module.SMTP.send_message

    @functools.wraps(original)
    def watched(self: Any, *args: Any, **named: Any) -> Any:
        with hop("feature", "mail", name="send", verdict="accepted"):
            return original(self, *args, **named)

    module.SMTP.send_message = watched


def _statement(query: str) -> str:
    """The first words of a statement, without its values."""
    return " ".join(query.split())[:80]


_PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "asyncpg": _asyncpg,
    "psycopg": _psycopg,
    "redis.asyncio": _redis,
    "nats": _nats,
    "httpx": _httpx,
    "httpcore": mending.httpcore,
    "aiobotocore.client": _aiobotocore,
    "smtplib": _smtplib,
}
