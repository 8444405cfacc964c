"""The service of typed_catalog.json, which breaks its own document where it is asked for certain films."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

FILM = {"id": 7, "title": "Sunrise", "genres": ["drama"], "class": None}
BROKEN: dict[int, Any] = {
    10: {**FILM, "title": 5},
    11: {**FILM, "genres": ["drama", "secret-token"]},
    12: {"id": 12},
    13: {**FILM, "id": 0},
    14: [FILM],
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    path, method, query = scope["path"], scope["method"], unquote(scope["query_string"].decode())
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    body = (await receive())["body"]
    status, media, answer = 200, "application/json", b""
    if path.startswith("/films/"):
        number = int(path.removeprefix("/films/"))
        if method == "DELETE":
            status = 204
        elif method == "PUT":
            answer = json.dumps({"average": 4.5, "you": json.loads(body)["stars"]}).encode()
        elif number == 404:
            status = 404
        elif number == 15:
            answer, media = b"<html>secret-token", "text/html"
        elif number == 16:
            status = 202
        else:
            film = BROKEN.get(number, {**FILM, "id": number, "datetime": "2026-12-01T10:00:00Z"})
            if query:
                film = {**film, "any": [query, headers.get("x-tenant")]}
            answer = json.dumps(film).encode()
    elif method == "GET":
        answer = json.dumps({"items": [FILM], "next": query}).encode()
    else:
        status, answer, media = 201, headers["content-type"].encode() + b" " + body, "text/plain"
    fields = [(b"content-type", media.encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": answer})
