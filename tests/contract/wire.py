"""Clients that write what no library would: HTTP/1.1 as bytes, and HTTP/2 as frames."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any

import hpack
import msgspec
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)  # fmt: skip

Address = tuple[str, int]


class Reply(msgspec.Struct):
    """What came back for one request. `status` 0: nothing before the connection closed or fell silent."""

    status: int = 0
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    interim: list[int] = []
    ended: str = ""
    """How an HTTP/2 stream ended: `end`, `reset`, `goaway`, `closed`, or `` when nothing more came."""

    def all(self, name: str) -> list[str]:
        """The lines of a field."""
        return [value for key, value in self.headers if key.lower() == name]

    def header(self, name: str) -> str | None:
        """All lines of a field, joined; None when it is absent."""
        return ", ".join(self.all(name)) if self.all(name) else None


def http1(address: Address, sent: bytes, *, wait: float = 1.5, method: str = "GET") -> list[Reply]:
    """Every final answer to these bytes, until the server closes or says nothing more for `wait` seconds."""
    found = b""
    with socket.create_connection(address, timeout=5) as sock:
        sock.settimeout(wait if not sent.endswith(b"\r\n\r\n") else 4)
        with contextlib.suppress(OSError):
            sock.sendall(sent)
            while chunk := sock.recv(65536):
                found += chunk
                sock.settimeout(0.3)
    return replies_of(found, method)


def replies_of(data: bytes, method: str) -> list[Reply]:
    """The final answers in these bytes."""
    replies: list[Reply] = []
    interim: list[int] = []
    while data.startswith(b"HTTP/1."):
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        code = first.split(" ")[1]
        reply = Reply(status=int(code) if code.isdecimal() else 0)
        for line in lines:
            name, _, value = line.partition(":")
            reply.headers.append((name.lower(), value.strip()))
        if reply.status < 200 and reply.status != 101:
            interim.append(reply.status)
            continue
        reply.interim, interim = interim, []
        if method == "HEAD" or reply.status in (101, 204, 304):
            reply.body = b""
        elif "chunked" in (reply.header("transfer-encoding") or ""):
            while True:
                size, _, data = data.partition(b"\r\n")
                if not size or int(size.split(b";")[0], 16) == 0:
                    data = data.partition(b"\r\n")[2]
                    break
                number = int(size.split(b";")[0], 16)
                reply.body, data = reply.body + data[:number], data[number + 2 :]
        elif length := reply.header("content-length"):
            reply.body, data = data[: int(length.split(",")[0])], data[int(length.split(",")[0]) :]
        else:
            reply.body, data = data, b""
        replies.append(reply)
    return replies


class HTTP2:
    """One HTTP/2 connection on which every frame is written as it is."""

    def __init__(self, address: Address, *, tls: bool = True, name: str = "localhost") -> None:
        self._sock = socket.create_connection(address, timeout=5)
        if tls:
            context = ssl._create_unverified_context()
            context.set_alpn_protocols(["h2"])
            self._sock = context.wrap_socket(self._sock, server_hostname=name)
            assert self._sock.selected_alpn_protocol() == "h2"
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._buffer = b""
        self.closed = False
        self.replies: dict[int, Reply] = {}
        self._sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize())

    def __enter__(self) -> HTTP2:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, *frames: Frame) -> None:
        """Frames in one write; what a closed connection refuses is lost."""
        with contextlib.suppress(OSError):
            self._sock.sendall(b"".join(frame.serialize() for frame in frames))

    def headers(self, fields: list[tuple[str, str]], *, stream: int = 1, end: bool = True) -> HeadersFrame:
        """A HEADERS frame of these fields, never indexed, in this order."""
        frame = HeadersFrame(stream, flags=["END_HEADERS", *(["END_STREAM"] if end else [])])
        frame.data = self._encoder.encode(
            [hpack.NeverIndexedHeaderTuple(*each) for each in fields], huffman=False
        )
        return frame

    def data(self, data: bytes, *, stream: int = 1, end: bool = True) -> DataFrame:
        frame = DataFrame(stream, data, flags=["END_STREAM"] if end else [])
        return frame

    def read(self, stream: int = 1, *, patience: float = 4.0, after: float = 0.0) -> Reply:
        """The reply of a stream once it has ended. patience: seconds; after: seconds more to read for a reset."""
        reply = self.replies.setdefault(stream, Reply())
        until = time.monotonic() + patience
        while not reply.ended and not self.closed and time.monotonic() < until:
            self._frame(until)
        if self.closed and not reply.ended:
            reply.ended = "closed"
        return reply

    def _frame(self, until: float) -> None:
        try:
            self._sock.settimeout(max(until - time.monotonic(), 0.01))
            while len(self._buffer) < 9:
                self._more()
            frame, length = Frame.parse_frame_header(memoryview(self._buffer[:9]))
            while len(self._buffer) < 9 + length:
                self._more()
            frame.parse_body(memoryview(self._buffer[9 : 9 + length]))
            self._buffer = self._buffer[9 + length :]
        except TimeoutError:
            return
        except (OSError, ssl.SSLError, EOFError):
            self.closed = True
            return
        self._take(frame)

    def _more(self) -> None:
        chunk = self._sock.recv(65536)
        if not chunk:
            raise EOFError
        self._buffer += chunk

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, GoAwayFrame):
            if frame.error_code:
                for reply in self.replies.values():
                    reply.ended = reply.ended or "goaway"
        elif isinstance(frame, RstStreamFrame):
            reply = self.replies.setdefault(frame.stream_id, Reply())
            reply.ended = reply.ended or "reset"
        elif isinstance(frame, HeadersFrame):
            reply = self.replies.setdefault(frame.stream_id, Reply())
            fields: list[Any] = self._decoder.decode(frame.data)
            if "status" in (status := dict(fields)) or ":status" in status:
                if int(status[":status"]) < 200:
                    reply.interim.append(int(status[":status"]))
                    return
                reply.status = int(status[":status"])
            reply.headers += [(name, value) for name, value in fields if not name.startswith(":")]
            reply.ended = "end" if "END_STREAM" in frame.flags else reply.ended
        elif isinstance(frame, DataFrame):
            reply = self.replies.setdefault(frame.stream_id, Reply())
            reply.body += frame.data
            if frame.flow_controlled_length:
                step = frame.flow_controlled_length
                self.send(WindowUpdateFrame(0, step), WindowUpdateFrame(frame.stream_id, step))
            reply.ended = "end" if "END_STREAM" in frame.flags else reply.ended
