"""One HTTP/1.1 connection to a service: a strict reader of replies, one request at a time.

RFC 9112 read narrowly: a reply that could be understood in two ways is refused and its connection closed.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

from tierline.journeys.fault import ServiceError, TooLarge
from tierline.journeys.service import ServiceReply

MOST_HEAD: Final = 64 * 1024
MOST_HEADERS: Final = 128
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NUMBER: Final = re.compile(rb"\d{1,18}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")

_HEAD, _LENGTH, _CHUNKS, _CLOSE = range(4)


class BadReply(ServiceError):
    """The service answered with something that is not HTTP/1.1, or is ambiguous."""


class Connection(asyncio.Protocol):
    """`await send(...)` gives the reply. `reusable` says whether another request may follow."""

    __slots__ = (
        "_body",
        "_buffer",
        "_closing",
        "_head_only",
        "_headers",
        "_mode",
        "_most",
        "_name",
        "_need",
        "_size",
        "_status",
        "_transport",
        "_waiter",
        "idle_since",
        "lost",
        "reusable",
        "used",
    )

    def __init__(self, name: str) -> None:
        self._name = name
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[ServiceReply] | None = None
        self._buffer = bytearray()
        self._mode = _HEAD
        self._head_only = False
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0
        self._need = 0
        self._most = 0
        self._closing = False
        self.reusable = True
        self.used = False
        """Has answered before: a failure may only mean that it was idle too long."""
        self.lost = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(
        self, data: bytes, most: int, head_only: bool, loop: asyncio.AbstractEventLoop
    ) -> asyncio.Future[ServiceReply]:
        """Writes one request, head and body; the future is its reply."""
        assert self._waiter is None
        assert self._transport is not None
        waiter = self._waiter = loop.create_future()
        self._most = most
        self._head_only = head_only
        self._transport.write(data)
        return waiter

    def close(self) -> None:
        """At once: whatever is still on its way is not ours any more."""
        self.reusable = False
        self._waiter = None
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self.reusable = False
        if self._waiter is None:
            return
        if self._mode == _CLOSE and error is None:
            self._complete()
        else:
            begun = self._mode != _HEAD or self._buffer
            self._fail(
                ServiceError(self._name, f"the connection closed {'amid' if begun else 'before'} its reply")
            )

    def data_received(self, data: bytes) -> None:
        if self._waiter is None:
            # Nobody asked: a reply without a request would be taken for the next one's.
            self.close()
            return
        try:
            if self._mode == _HEAD and not self._buffer:
                # The common case: the whole reply in one piece.
                end = data.find(b"\r\n\r\n")
                if end >= 0:
                    self._read_head(data[:end])
                    rest = data[end + 4 :]
                    if self._mode == _LENGTH and len(rest) == self._need:
                        self._body.append(rest)
                        self._complete()
                        return
                    data = rest
            if data or self._mode == _LENGTH:
                self._buffer += data
                self._advance()
        except (ServiceError, TooLarge) as error:
            self._fail(error)

    def _advance(self) -> None:
        while self._waiter is not None:
            buffer = self._buffer
            if self._mode == _HEAD:
                end = buffer.find(b"\r\n\r\n")
                if end < 0:
                    if len(buffer) > MOST_HEAD:
                        raise BadReply(self._name, f"the head of its reply is larger than {MOST_HEAD} bytes")
                    return
                head = bytes(buffer[:end])
                del buffer[: end + 4]
                self._read_head(head)
            elif self._mode == _LENGTH:
                if len(buffer) < self._need:
                    if buffer:
                        self._body.append(bytes(buffer))
                        self._need -= len(buffer)
                        buffer.clear()
                    return
                self._body.append(bytes(buffer[: self._need]))
                del buffer[: self._need]
                if buffer:
                    self._closing = True
                self._complete()
            elif self._mode == _CHUNKS:
                if not self._read_chunk():
                    return
            else:
                if buffer:
                    self._take(bytes(buffer))
                    buffer.clear()
                return

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most:
            raise TooLarge(f"{self._name}: its reply is larger than {self._most} bytes", service=self._name)
        self._body.append(piece)

    def _read_head(self, head: bytes) -> None:
        if len(head) > MOST_HEAD:
            raise BadReply(self._name, f"the head of its reply is larger than {MOST_HEAD} bytes")
        lines = head.split(b"\r\n")
        if not (first := _STATUS.fullmatch(lines[0])):
            raise BadReply(self._name, "it did not answer in HTTP/1.1")
        if len(lines) > MOST_HEADERS:
            raise BadReply(self._name, f"its reply has more than {MOST_HEADERS} headers")
        self._closing = first[1] == b"0"
        self._status = status = int(first[2])
        headers: list[tuple[bytes, bytes]] = []
        length: bytes | None = None
        coding: bytes | None = None
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise BadReply(self._name, "a header of its reply is malformed")
            name = name.lower()
            value = value.strip(b" \t")
            headers.append((name, value))
            if name == b"content-length":
                if length is not None and length != value:
                    raise BadReply(self._name, "its reply has two lengths")
                length = value
            elif name == b"transfer-encoding":
                coding = value.lower() if coding is None else coding + b"," + value.lower()
            elif name == b"connection" and b"close" in value.lower():
                self._closing = True
        if status < 200:
            if status == 101:
                raise BadReply(self._name, "it changed the protocol unasked")
            return
        self._headers = headers
        if self._head_only or status in (204, 304):
            self._mode, self._need = _LENGTH, 0
        elif coding is not None:
            if length is not None or coding != b"chunked" or first[1] == b"0":
                raise BadReply(
                    self._name, f"the length of its reply is ambiguous (transfer-encoding {coding!r})"
                )
            self._mode = _CHUNKS
        elif length is not None:
            if not _NUMBER.fullmatch(length):
                raise BadReply(self._name, f"its reply has the length {length!r}")
            self._mode, self._need = _LENGTH, int(length)
            if self._need > self._most:
                raise TooLarge(
                    f"{self._name}: its reply is larger than {self._most} bytes", service=self._name
                )
        else:
            self._mode, self._closing = _CLOSE, True

    def _read_chunk(self) -> bool:
        """Takes one chunk, or its next part; False when more data is needed."""
        buffer = self._buffer
        if self._need:
            # The data of a chunk and the line end after it.
            if len(buffer) < self._need:
                if self._need - len(buffer) > 2:
                    self._take(bytes(buffer))
                    self._need -= len(buffer)
                    buffer.clear()
                return False
            if buffer[self._need - 2 : self._need] != b"\r\n":
                raise BadReply(self._name, "a chunk of its reply has the wrong length")
            self._take(bytes(buffer[: self._need - 2]))
            del buffer[: self._need]
            self._need = 0
            return True
        end = buffer.find(b"\r\n")
        if end < 0:
            if len(buffer) > 1024:
                raise BadReply(self._name, "a chunk of its reply has no length")
            return False
        found = _CHUNK.fullmatch(bytes(buffer[:end]))
        if not found:
            raise BadReply(self._name, "a chunk of its reply has a malformed length")
        size = int(found[1], 16)
        if size:
            if self._size + size > self._most:
                raise TooLarge(
                    f"{self._name}: its reply is larger than {self._most} bytes", service=self._name
                )
            del buffer[: end + 2]
            self._need = size + 2
            return True
        # The last chunk; trailers are read and dropped.
        if buffer[end + 2 : end + 4] == b"\r\n":
            stop = end + 4
        else:
            stop = buffer.find(b"\r\n\r\n", end)
            if stop < 0:
                if len(buffer) > MOST_HEAD:
                    raise BadReply(self._name, "the trailers of its reply are too large")
                return False
            stop += 4
        del buffer[:stop]
        if buffer:
            self._closing = True
        self._complete()
        return False

    def _complete(self) -> None:
        waiter, self._waiter = self._waiter, None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        reply = ServiceReply(self._status, self._headers, body)
        self._body = []
        self._size = self._need = 0
        self._mode = _HEAD
        self.used = True
        if self._closing or self._buffer:
            self.reusable = False
            if self._transport is not None:
                self._transport.abort()
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def _fail(self, error: Exception) -> None:
        waiter = self._waiter
        self.close()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
