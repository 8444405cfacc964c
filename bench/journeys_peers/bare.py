"""The limit: no calls at all, the document encoded for each request."""

from __future__ import annotations

from typing import Any

from journeys_peers.document import DETAILS, RATING, SIMILAR, encode

HEADERS = [(b"content-type", b"application/json")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = encode({"details": DETAILS, "similar": SIMILAR, "my_rating": RATING})
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body})
