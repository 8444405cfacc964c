"""The application of the streaming suites, and a small HTTP/1.1 server that runs it and hides nothing.

It never looks at the clock: the next piece of a stream is sent when a second request asks for it, and what the service
has seen (a request, so many bytes of it, that its client left) is answered as soon as it is true. As a service of a
line it runs in the Python worker; as a command (`python streaming_app.py PORT`) and in the suites of single tiers it
runs in this file's own server, which sends and reads trailers and 103 as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

TYPES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "html": "text/html; charset=utf-8"}
PIECE = "data: piece {} of a stream that a client reads as it comes\n\n"
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The answer to the key of RFC 6455, 1.3."""


class Exchange:
    """What is known of one request that has a name (`?id=`)."""

    def __init__(self) -> None:
        self.changed = asyncio.Condition()
        self.came = 0
        self.left = False
        self.bytes = 0
        self.wanted = 1
        self.ended = False

    async def set(self, **news: Any) -> None:
        async with self.changed:
            for name, value in news.items():
                setattr(self, name, value)
            self.changed.notify_all()

    async def until(self, true: Callable[[], bool]) -> None:
        async with self.changed:
            await self.changed.wait_for(true)


exchanges: dict[str, Exchange] = {}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """See the module."""
    if scope["type"] == "lifespan":
        return await _lifespan(receive, send)
    query = dict(parse_qsl(scope["query_string"].decode()))
    mine = exchanges.setdefault(query.get("id", ""), Exchange())
    what = scope["path"].rpartition("/")[2]
    if scope["type"] == "websocket":
        return await _websocket(receive, send)
    if what in ("stream", "wait", "upload"):
        await mine.set(came=mine.came + 1)
        return await {"stream": _stream, "wait": _wait, "upload": _upload}[what](mine, query, receive, send)
    if what == "next":
        await mine.set(wanted=mine.wanted + 1)
    elif what == "end":
        await mine.set(ended=True)
    elif what == "wanted":
        await mine.until(lambda: mine.wanted >= int(query["times"]))
    elif what == "leave":
        await mine.set(left=True)
    elif what == "came":
        await mine.until(lambda: mine.came >= int(query.get("times", "1")))
    elif what == "left":
        await mine.until(lambda: mine.left)
    elif what == "got":
        await mine.until(lambda: mine.bytes >= int(query["bytes"]))
    elif what in ("echo", "trailers", "early"):
        return await _special(what, mine, scope, receive, send)
    await _answer(send, what.encode())


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        said = (await receive())["type"]
        await send({"type": f"{said}.complete"})
        if said == "lifespan.shutdown":
            return


async def _answer(send: Any, body: bytes, *more: tuple[bytes, bytes], trailers: bool = False) -> None:
    head = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store"), *more]
    await send({"type": "http.response.start", "status": 200, "headers": head, "trailers": trailers})
    await send({"type": "http.response.body", "body": body})


async def _watch(mine: Exchange, receive: Any) -> None:
    """Read the request to its end, and note that the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    await mine.set(left=True)


async def _stream(mine: Exchange, query: dict[str, str], receive: Any, send: Any) -> None:
    head = [(b"content-type", TYPES[query["type"]].encode())]
    if control := query.get("control"):
        head.append((b"cache-control", control.encode()))
    watching = asyncio.ensure_future(_watch(mine, receive))
    await send({"type": "http.response.start", "status": 200, "headers": head})
    sent = [0]  # how many
    while not mine.ended and not mine.left:
        while sent[0] < mine.wanted:
            piece = PIECE.format(sent[0]).encode()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent[0] += 1
        await mine.until(lambda: mine.wanted > sent[0] or mine.ended or mine.left)
    if not mine.left:
        await send({"type": "http.response.body", "body": b""})
    watching.cancel()


async def _wait(mine: Exchange, _: dict[str, str], receive: Any, send: Any) -> None:
    """An answer that is long in coming."""
    watching = asyncio.ensure_future(_watch(mine, receive))
    await mine.until(lambda: mine.ended or mine.left)
    if not mine.left:
        await _answer(send, b"waited")
    watching.cancel()


async def _upload(mine: Exchange, _: dict[str, str], receive: Any, send: Any) -> None:
    while (message := await receive())["type"] == "http.request":
        await mine.set(bytes=mine.bytes + len(message["body"]))
        if not message.get("more_body"):
            return await _answer(send, str(mine.bytes).encode())
    await mine.set(left=True)


async def _special(what: str, mine: Exchange, scope: Any, receive: Any, send: Any) -> None:
    body, trailers = b"", []
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message.get("more_body"):
            trailers = message.get("trailers", [])
            break
    if what == "early":
        links = [b"</style.css>; rel=preload; as=style"]
        await send({"type": "http.response.early_hint", "links": links})
        await mine.until(lambda: mine.ended)
    if what == "trailers":
        await _answer(send, b"body", (b"trailer", b"x-told"), trailers=True)
        return await send({"type": "http.response.trailers", "headers": [(b"x-told", b"at the end")]})
    told = {
        "body": body.decode(),
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "trailers": {name.decode(): value.decode() for name, value in trailers},
    }
    await _answer(send, json.dumps(told).encode())


async def _websocket(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message.get("bytes") or message["text"].encode()})


class Server:
    """HTTP/1.1 over asyncio's streams, of one application."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            first = b""
            while (first := await self._request(first, reader, writer)) is not None:
                pass
        writer.close()

    async def _request(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Answer one request; what has been read of the next one; None: the connection ends."""
        line = first + await reader.readline()
        if not line.strip():
            return None
        method, target, version = line.decode("latin-1").split()
        fields = await _fields(reader)
        path, _, query = target.partition("?")
        found = dict(fields)
        if path.endswith("/health"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            return b""
        if found.get(b"upgrade", b"").lower() == b"websocket":
            return await _echo_frames(reader, writer)
        scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": fields,
        }  # fmt: skip
        if found.get(b"expect", b"").lower() == b"100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _body(reader, found)
        ahead: asyncio.Task[bytes] | None = None
        over = False

        async def receive() -> dict[str, Any]:
            nonlocal ahead, over
            if not over:
                message = await anext(body)
                over = not message["more_body"]
                return message
            ahead = ahead or asyncio.ensure_future(_more(reader))
            if await asyncio.shield(ahead):
                await asyncio.Event().wait()  # the next request; this one's client is still here
            return {"type": "http.disconnect"}

        answer = _Answer(writer, method, version)
        await app(scope, receive, answer.send)
        while not over:
            over = not (await anext(body))["more_body"]
        await writer.drain()
        if answer.closes:
            return None
        return await (ahead or _more(reader)) or None


async def _more(reader: asyncio.StreamReader) -> bytes:
    """The next byte; none when the connection has ended, however it did."""
    try:
        return await reader.read(1)
    except OSError:
        return b""


async def _fields(reader: asyncio.StreamReader) -> list[tuple[bytes, bytes]]:
    found = []
    while line := (await reader.readline()).rstrip(b"\r\n"):
        name, _, value = line.partition(b":")
        found.append((name.lower(), value.strip()))
    return found


async def _body(reader: asyncio.StreamReader, found: dict[bytes, bytes]) -> Any:
    if found.get(b"transfer-encoding"):
        while True:
            try:
                size = int((await reader.readline()).split(b";")[0], 16)
                if not size:
                    break
                piece = await reader.readexactly(size)
            except (OSError, ValueError, asyncio.IncompleteReadError):
                yield {"type": "http.disconnect", "more_body": False}
                return
            yield {"type": "http.request", "body": piece, "more_body": True}
            await reader.readline()
        trailers = await _fields(reader)
        yield {"type": "http.request", "body": b"", "more_body": False, "trailers": trailers}
        return
    left = int(found.get(b"content-length", b"0"))
    while left:
        try:
            piece = await reader.read(min(left, 65536))
        except OSError:
            piece = b""
        if not piece:
            yield {"type": "http.disconnect", "more_body": False}
            return
        left -= len(piece)
        yield {"type": "http.request", "body": piece, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


class _Answer:
    def __init__(self, writer: asyncio.StreamWriter, method: str, version: str) -> None:
        self._writer = writer
        self._chunked = version == "HTTP/1.1" and method != "HEAD"
        self._bodyless = method == "HEAD"
        self._trailers = False
        self.closes = version != "HTTP/1.1"

    async def send(self, message: dict[str, Any]) -> None:
        write = self._writer.write
        if message["type"] == "http.response.early_hint":
            links = b"".join(b"link: %b\r\n" % link for link in message["links"])
            write(b"HTTP/1.1 103 Early Hints\r\n" + links + b"\r\n")
        elif message["type"] == "http.response.start":
            self._trailers = message.get("trailers", False)
            fields = b"".join(b"%b: %b\r\n" % field for field in message["headers"])
            coding = b"transfer-encoding: chunked\r\n" if self._chunked else b""
            write(b"HTTP/1.1 %d OK\r\n%b%b\r\n" % (message["status"], fields, coding))
        elif message["type"] == "http.response.body":
            self._body(message)
        else:
            fields = b"".join(b"%b: %b\r\n" % field for field in message["headers"])
            write(fields + b"\r\n")
        await self._writer.drain()

    def _body(self, message: dict[str, Any]) -> None:
        body = b"" if self._bodyless else message.get("body", b"")
        if body:
            self._writer.write(b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body)
        if self._chunked and not message.get("more_body"):
            self._writer.write(b"0\r\n" if self._trailers else b"0\r\n\r\n")


async def _echo_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + ACCEPT.encode() + b"\r\n\r\n"
    )
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


class Origin:
    """The server on a thread of its own: what stands behind a tier in its suite."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._servers: list[asyncio.Server] = []

    def start(self, _: str, host: str, port: int) -> int:
        """Listen; the port."""
        made = asyncio.start_server(Server(), host, port, limit=1 << 20)
        server = asyncio.run_coroutine_threadsafe(made, self._loop).result(5)
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        for server in self._servers:
            self._loop.call_soon_threadsafe(server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)


async def _serve(host: str, port: int) -> None:
    async with await asyncio.start_server(Server(), host, port, limit=1 << 20) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT") or sys.argv[1])))
