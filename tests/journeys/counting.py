"""A service that counts what it is asked, and answers as it is told: for tests that call it over the wire."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

import msgspec

ASKED: Counter[str] = Counter()
"""Requests by method and path."""
KEYS: list[str] = []
"""Idempotency keys of requests that change something, in order."""
MANNERS: dict[str, list[dict[str, Any]]] = {}
"""By path: what each of the next requests meets; the last one holds on."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`POST /-/set` with `{path: [{"ms": 20, "status": 503, "headers": {…}, "body": …}]}` says how it answers, and
    `GET /-/asked` what it was asked; `/-/set` forgets that. Else: its path and query."""
    if scope["type"] != "http":
        return
    raw = b""
    while True:
        message = await receive()
        raw += message.get("body", b"")
        if not message.get("more_body"):
            break
    path, method = scope["path"], scope["method"]
    status, fields, body = 200, {}, None
    if path == "/-/set":
        ASKED.clear()
        KEYS.clear()
        MANNERS.clear()
        MANNERS.update(msgspec.json.decode(raw))
    elif path == "/-/asked":
        body = {"asked": ASKED, "keys": KEYS}
    else:
        ASKED[f"{method} {path}"] += 1
        if method != "GET":
            KEYS.append(dict(scope["headers"]).get(b"idempotency-key", b"").decode())
        manner: dict[str, Any] = {}
        if left := MANNERS.get(path):
            manner = left.pop(0) if len(left) > 1 else left[0]
        await asyncio.sleep(manner.get("ms", 0) / 1000)  # slow: as the test asks
        status, fields = manner.get("status", 200), manner.get("headers", {})
        body = manner.get("body", {"path": path, **dict(parse_qsl(scope["query_string"].decode()))})
    headers = [(b"content-type", b"application/json"), *((k.encode(), v.encode()) for k, v in fields.items())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(body)})
