"""A scriptable origin and a raw client, so that a behaviour of a cache is a few lines to try."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

from waiting import PATIENCE, becomes, has_expired

HOST = "cache.test"


def date(offset: float = 0) -> str:
    """An HTTP date, this many seconds from now."""
    return formatdate(time.time() + offset, usegmt=True)


@dataclass
class Request:
    """What the origin, or whoever listens, received."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """All values of a field, joined; None when it is absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


@dataclass
class Answer:
    """What the origin says. Its body is unique to each answer unless given; Date is added unless given."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | None = None
    delay: float = 0
    """Seconds until it is sent; no test may count on them."""
    once: Callable[[], bool] | None = None
    """It is sent once this is true."""
    cut: int | None = None
    """Close after this many bytes of the body, though the length promised more."""
    chunked: bool = False
    next: asyncio.Semaphore | None = None
    """The body is a stream: each line is a chunk of its own, the next one is sent when this is released."""
    interim: bytes = b""
    """Answers before the final one."""
    dateless: bool = False
    """No Date is added."""
    hang_up: bool = False
    """Close without an answer."""


Script = Answer | Callable[[Request], Answer]


def cc(control: str | None = None, status: int = 200, body: bytes | None = None, **more: str) -> Answer:
    """An answer with Cache-Control and other fields (`last_modified=…`)."""
    headers = [("Cache-Control", control)] if control is not None else []
    headers += [(name.replace("_", "-"), value) for name, value in more.items()]
    return Answer(status, headers, body)


class Origin:
    """An HTTP/1.1 server whose answers are scripted by the first segment of the path."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Script]] = {}
        self.seen: dict[str, list[Request]] = defaultdict(list)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._number = 0
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError
        ):
            while (request := await read_request(reader)) is not None:
                key = request.target.split("?")[0].strip("/").split("/")[0]
                seen = self.seen[key]
                seen.append(request)
                if (request.header("upgrade") or "").lower() == "websocket":
                    await _echo(request, reader, writer)
                    break
                script = self.scripts.get(key, [Answer(404)])
                step = script[min(len(seen), len(script)) - 1]
                answer = step(request) if callable(step) else step
                self._number += 1
                if not await self._send(request, answer, writer, f"{key} {self._number}\n".encode()):
                    break
        self._open.discard(writer)
        writer.close()

    async def _send(self, request: Request, answer: Answer, writer: asyncio.StreamWriter, own: bytes) -> bool:
        await asyncio.sleep(answer.delay)  # slow: as the test asks
        if answer.once is not None:
            await becomes(answer.once)
        if answer.hang_up:
            return False
        body = own if answer.body is None else answer.body
        bodiless = answer.status in (204, 304)
        given = {name.lower() for name, _ in answer.headers}
        headers = list(answer.headers)
        writer.write(answer.interim)
        if "date" not in given and not answer.dateless:
            headers.append(("Date", date()))
        if answer.next is not None:
            headers.append(("Transfer-Encoding", "chunked"))
            told = "".join(f"{name}: {value}\r\n" for name, value in headers)
            writer.write(f"HTTP/1.1 {answer.status} Said\r\n{told}\r\n".encode("latin-1"))
            for line in body.splitlines(keepends=True):
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
                await writer.drain()
                await answer.next.acquire()
            writer.write(b"0\r\n\r\n")
            return True
        if answer.chunked:
            headers.append(("Transfer-Encoding", "chunked"))
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        elif not bodiless and "content-length" not in given:
            headers.append(("Content-Length", str(len(body))))
        head = f"HTTP/1.1 {answer.status} Said\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers
        )
        sent = b"" if bodiless or request.method == "HEAD" else body
        writer.write(head.encode("latin-1") + b"\r\n" + (sent if answer.cut is None else sent[: answer.cut]))
        await writer.drain()
        return answer.cut is None


async def _echo(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Change to a protocol that gives back what it gets."""
    digest = hashlib.sha1(
        f"{request.header('sec-websocket-key')}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()
    )
    accept = base64.b64encode(digest.digest()).decode()
    head = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}"
    writer.write(head.encode() + b"\r\n\r\n")
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None at its end."""
    line = await reader.readline()
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    if target.startswith("http://"):
        target = "/" + target.split("/", 3)[3]
    headers = await read_headers(reader)
    request = Request(method, target, headers)
    request.body = await read_body(
        reader, request.header("content-length"), request.header("transfer-encoding")
    )
    return request


async def read_headers(reader: asyncio.StreamReader) -> list[tuple[str, str]]:
    headers = []
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
    return headers


async def read_body(reader: asyncio.StreamReader, length: str | None, coding: str | None) -> bytes:
    if coding is not None and "chunked" in coding:
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        while (await reader.readline()) not in (b"\r\n", b"\n", b""):
            pass
        return body
    return await reader.readexactly(int(length)) if length else b""


@dataclass
class Response:
    """What the client received. `status` 0: the connection was closed without an answer."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = True

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def age(self) -> int:
        """The Age field; -1 when there is none."""
        value = self.header("age")
        return int(value) if value is not None else -1


async def raw(
    address: tuple[str, int], sent: bytes, method: str = "GET", within: float = PATIENCE
) -> list[Response]:
    """Send bytes, and read responses until the server closes or falls silent."""
    found: list[Response] = []
    async with asyncio.timeout(within):
        reader, writer = await asyncio.open_connection(*address, limit=1 << 20)
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(sent)
                await writer.drain()
                while (response := await _next(reader, method, 2 if found else within)) is not None:
                    if response.status >= 200:
                        found.append(response)
        finally:
            writer.close()
    return found


async def _next(reader: asyncio.StreamReader, method: str, silence: float) -> Response | None:
    """The next response. After the first one, a server that keeps the connection open in silence has ended."""
    try:
        async with asyncio.timeout(silence):
            return await read_response(reader, method)
    except TimeoutError:
        if silence > 2:
            raise
        return None


async def read_response(reader: asyncio.StreamReader, method: str) -> Response | None:
    line = await reader.readline()
    if not line.strip():
        return None
    response = Response(int(line.split(b" ")[1]))
    response.headers = await read_headers(reader)
    if method == "HEAD" or response.status in (204, 304) or response.status < 200:
        return response
    length, coding = response.header("content-length"), response.header("transfer-encoding")
    try:
        if length is None and coding is None:
            response.body = await reader.read()
        else:
            response.body = await read_body(reader, length, coding)
    except asyncio.IncompleteReadError as short:
        response.body, response.complete = short.partial, False
    except ValueError:
        response.complete = False
    return response


class Trial:
    """One behaviour being tried on one system: a path of its own at the origin, and a client."""

    def __init__(self, origin: Origin, address: tuple[str, int], key: str) -> None:
        self.origin = origin
        self.address = address
        self.key = key
        self.took = 0.0
        """Seconds that `twice` took."""

    def script(self, *answers: Script) -> None:
        """The origin's answers in turn; the last one stays."""
        self.origin.scripts[self.key] = list(answers)

    @property
    def seen(self) -> list[Request]:
        """What the origin was asked."""
        return self.origin.seen[self.key]

    @property
    def asked(self) -> int:
        return len(self.seen)

    async def get(self, path: str = "", *, method: str = "GET", body: bytes = b"", host: str = HOST,
                  headers: Mapping[str, str] | None = None) -> Response:  # fmt: skip
        """One request on a connection of its own."""
        lines = [f"{method} /{self.key}{path} HTTP/1.1", f"Host: {host}"]
        given = dict(headers or {})
        lines += [f"{name}: {value}" for name, value in given.items()]
        if "connection" not in {name.lower() for name in given}:
            lines.append("Connection: close")
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        answers = await raw(self.address, "\r\n".join(lines).encode() + b"\r\n\r\n" + body, method)
        return answers[0] if answers else Response(0)

    async def raw(self, sent: bytes, method: str = "GET", within: float = PATIENCE) -> list[Response]:
        return await raw(self.address, sent, method, within)

    async def reused(self, *, first: Mapping[str, str] | None = None, then: Mapping[str, str] | None = None,
                     wait: float = 0) -> bool:  # fmt: skip
        """Whether a second request is answered without asking the origin again."""
        one = await self.get(headers=first)
        await has_expired(wait)
        before = self.asked
        two = await self.get(headers=then)
        if self.asked > before:
            return False
        assert two.body == one.body, f"{two.status} {two.body!r} is not what was stored: {one.body!r}"
        return True

    async def twice(self, wait: float, **headers: str) -> tuple[Response, Response]:
        """Two equal requests with a pause between."""
        began = time.monotonic()
        one = await self.get(headers=headers)
        await has_expired(wait)
        two = await self.get(headers=headers)
        self.took = time.monotonic() - began
        return one, two


@dataclass(frozen=True)
class Behaviour:
    """One line of the table."""

    name: str
    section: str
    required: bool
    says: str
    run: Callable[[Trial], Awaitable[None]]


TABLE: dict[str, Behaviour] = {}
_LACKING = 10.0
"""Seconds that a trial has whose behaviour a system lacks."""


def behaviour(
    name: str, section: str, says: str, *, required: bool
) -> Callable[..., Callable[[Trial], Awaitable[None]]]:
    """Add a line to the table. `section` is RFC 9111's unless it names another."""

    def add(run: Callable[[Trial], Awaitable[None]]) -> Callable[[Trial], Awaitable[None]]:
        assert name not in TABLE, name
        TABLE[name] = Behaviour(name, section, required, says, run)
        return run

    return add


def must(name: str, section: str, says: str) -> Callable[..., Callable[[Trial], Awaitable[None]]]:
    """A behaviour that the RFC requires (MUST, SHOULD), or without which it would be no cache."""
    return behaviour(name, section, says, required=True)


def may(name: str, section: str, says: str) -> Callable[..., Callable[[Trial], Awaitable[None]]]:
    """A behaviour that the RFC leaves open."""
    return behaviour(name, section, says, required=False)


async def try_all(
    origin: Origin, address: tuple[str, int], names: Iterable[str] | None = None, lacks: Container[str] = ()
) -> dict[str, str]:
    """These behaviours, or all, at once; what went wrong by name, empty for what holds.

    lacks: what is known not to hold, so that nobody waits long for it.
    """
    chosen = TABLE.values() if names is None else [TABLE[name] for name in names]
    gate = asyncio.Semaphore(48)

    async def tried(each: Behaviour) -> str:
        try:
            await asyncio.wait_for(
                each.run(Trial(origin, address, each.name)), _LACKING if each.name in lacks else 2 * PATIENCE
            )
        except AssertionError as wrong:
            return str(wrong) or "does not hold"
        except Exception as broken:
            return repr(broken)
        return ""

    async def one(each: Behaviour) -> tuple[str, str]:
        async with gate:
            return each.name, await tried(each)

    return dict(await asyncio.gather(*(one(each) for each in chosen)))
