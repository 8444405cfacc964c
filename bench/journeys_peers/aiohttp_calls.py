"""The same three calls by hand with aiohttp's client, one session, kept-alive."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp
import msgspec
from journeys_peers.document import encode

HEADERS = [(b"content-type", b"application/json")]
decode = msgspec.json.Decoder().decode
_session: aiohttp.ClientSession | None = None


async def get(path: str) -> Any:
    global _session
    if _session is None:
        where = os.environ["SERVICES"]
        if where.startswith("unix:"):
            connector: Any = aiohttp.UnixConnector(where.removeprefix("unix:"), limit=200)
            _session = aiohttp.ClientSession("http://services", connector=connector)
        else:
            _session = aiohttp.ClientSession(f"http://{where}", connector=aiohttp.TCPConnector(limit=200))
    async with _session.get(path) as reply:
        return decode(await reply.read())


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    film_id = int(scope["path"].rpartition("/")[2])
    details, similar, rating = await asyncio.gather(
        get(f"/films/{film_id}"), get(f"/similar/{film_id}"), get(f"/ratings/{film_id}")
    )
    body = encode({"details": details, "similar": similar, "my_rating": rating})
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body})
