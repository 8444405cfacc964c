"""The same three ASGI applications called in the process by twenty lines of one's own, and gathered."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from journeys_peers import services
from journeys_peers.document import encode

HEADERS = [(b"content-type", b"application/json")]


async def get(app: Any, path: str) -> Any:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "client": None, "server": None,
        "headers": [(b"host", b"service"), (b"accept", b"application/json")],
    }  # fmt: skip
    status, parts = 0, []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    if status != 200:
        raise RuntimeError(f"{path}: {status}")
    return msgspec.json.decode(b"".join(parts))


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    film_id = int(scope["path"].rpartition("/")[2])
    details, similar, rating = await asyncio.gather(
        get(services.catalog, f"/films/{film_id}"),
        get(services.recommendations, f"/similar/{film_id}"),
        get(services.members, f"/ratings/{film_id}"),
    )
    body = encode({"details": details, "similar": similar, "my_rating": rating})
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body})
