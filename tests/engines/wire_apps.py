"""Applications that answer as none should, for what serves them: `app` is ASGI, `wsgi` WSGI."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

seen: list[str] = []
"""Paths that reached one of them, with what came of the body."""

HEADS: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {
    "/204": (204, [], b"evil"),
    "/204-length": (204, [("content-length", "4")], b"evil"),
    "/304": (304, [("etag", '"a"')], b"evil"),
    "/304-length": (304, [("etag", '"a"'), ("content-length", "4")], b""),
    "/short": (200, [("content-length", "10")], b"good"),
    "/long": (200, [("content-length", "2")], b"good"),
    "/both": (200, [("content-length", "4"), ("transfer-encoding", "chunked")], b"good"),
    "/lengths": (200, [("content-length", "4"), ("content-length", "4")], b"good"),
    "/hop": (200, [("connection", "close"), ("keep-alive", "timeout=7")], b"good"),
    "/crlf": (200, [("x-a", "b\r\nx-evil: 1")], b"good"),
    "/name": (200, [("x a", "b")], b"good"),
    "/date": (200, [("date", "Tue, 15 Nov 1994 08:12:31 GMT")], b"good"),
    "/server": (200, [("server", "own")], b"good"),
    "/status": (299, [], b"good"),
    "/cookies": (200, [("set-cookie", "a=1"), ("set-cookie", "b=2")], b"good"),
    "/head": (200, [("content-length", "4711")], b""),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/seen":
        return await _answer(send, 200, [], json.dumps(seen).encode())
    if path == "/early":
        return await _answer(send, 413, [], b"too large")
    if path == "/broken":
        raise RuntimeError("before it answers")
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body, more = body + message.get("body", b""), message.get("more_body", False)
    else:
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        seen.append(f"{scope['method']} {path} {body.decode('latin-1')} {fields.get('x-a', '')}")
    if path == "/half":
        head = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"good", "more_body": True})
        raise RuntimeError("while it answers")
    status, headers, told = HEADS.get(path, (200, [], body or b"good"))
    return await _answer(send, status, headers, told)


async def _answer(send: Any, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/seen":
        start("200 OK", [])
        return [json.dumps(seen).encode()]
    if path == "/early":
        start("413 Too Large", [])
        return [b"too large"]
    if path == "/broken":
        raise RuntimeError("before it answers")
    if path == "/lines":
        start("200 OK", [])
        lines = iter(lambda: environ["wsgi.input"].readline(64), b"")
        return [json.dumps([each.decode() for each in lines]).encode()]
    body = environ["wsgi.input"].read()
    seen.append(f"{environ['REQUEST_METHOD']} {path} {body.decode('latin-1')} {environ.get('HTTP_X_A', '')}")
    if path == "/half":
        return _half(start)
    status, headers, told = HEADS.get(path, (200, [], body or b"good"))
    start(f"{status} Said", headers)
    return [told]


def _half(start: Any) -> Iterable[bytes]:
    start("200 OK", [("content-type", "text/plain")])
    yield b"good"
    raise RuntimeError("while it answers")
