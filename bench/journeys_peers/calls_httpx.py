"""The same three ASGI applications called in the process by httpx's ASGITransport, and gathered."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from journeys_peers import services
from journeys_peers.document import encode

HEADERS = [(b"content-type", b"application/json")]


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service")


CATALOG, SIMILAR, MEMBERS = (
    client(services.catalog),
    client(services.recommendations),
    client(services.members),
)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    film_id = int(scope["path"].rpartition("/")[2])
    answers = await asyncio.gather(
        CATALOG.get(f"/films/{film_id}"),
        SIMILAR.get(f"/similar/{film_id}"),
        MEMBERS.get(f"/ratings/{film_id}"),
    )
    details, similar, rating = (answer.raise_for_status().json() for answer in answers)
    body = encode({"details": details, "similar": similar, "my_rating": rating})
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body})
