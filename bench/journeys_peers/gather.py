"""The same three functions with `asyncio.gather` in a bare ASGI application: no framework at all."""

from __future__ import annotations

import asyncio
from typing import Any

from journeys_peers.document import encode, get_details, get_rating, get_similar

HEADERS = [(b"content-type", b"application/json")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    film_id = int(scope["path"].rpartition("/")[2])
    details, similar, rating = await asyncio.gather(
        get_details(film_id), get_similar(film_id), get_rating(film_id)
    )
    body = encode({"details": details, "similar": similar, "my_rating": rating})
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body})
