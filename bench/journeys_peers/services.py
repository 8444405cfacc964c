"""Three services as whole ASGI applications, and one application that is all three for a server."""

from __future__ import annotations

from typing import Any

from journeys_peers.document import DETAILS, RATING, SIMILAR, encode


def service(prefix: str, value: object) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = encode(value)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    app.__name__ = prefix
    return app


catalog = service("catalog", DETAILS)
recommendations = service("recommendations", SIMILAR)
members = service("members", RATING)

_BY_PATH = {"films": catalog, "similar": recommendations, "ratings": members}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await _BY_PATH[scope["path"].split("/")[1]](scope, receive, send)
