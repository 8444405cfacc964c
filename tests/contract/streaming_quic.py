"""The streaming suite's client over HTTP/3."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Mapping

import streaming_client
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamReset
from streaming_client import Exchange, Late


class HTTP3(Exchange):
    """Over HTTP/3; `more` asks for another stream of the same connection."""

    def __init__(self, address: tuple[str, int], _: ssl.SSLContext | None, authority: str) -> None:
        self.authority, self._address = authority, address
        self.interim, self.headers, self.trailers = [], {}, {}
        self.body, self.ended = b"", False
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        settings = QuicConfiguration(
            is_client=True, alpn_protocols=H3_ALPN, server_name=authority.partition(":")[0],
            verify_mode=ssl.CERT_NONE,
        )  # fmt: skip
        self._quic = QuicConnection(configuration=settings)
        self._quic.connect(address, time.monotonic())
        self._h3 = H3Connection(self._quic)
        self._streams: dict[int, HTTP3] = {}
        self._greeted = False
        self._flush()
        while not self._greeted:
            self.read()

    def more(self) -> HTTP3:
        made = HTTP3.__new__(HTTP3)
        made.__dict__ |= {**self.__dict__, "status": 0, "interim": [], "headers": {}, "trailers": {}}
        made.__dict__ |= {"body": b"", "ended": False}
        return made

    def _flush(self) -> None:
        for data, address in self._quic.datagrams_to_send(time.monotonic()):
            self.sock.sendto(data, address)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, open: bool = False
    ) -> HTTP3:
        self._id = self._quic.get_next_available_stream_id()
        self._streams[self._id] = self
        pseudo = {":method": method, ":scheme": "https", ":authority": self.authority, ":path": path}
        self._h3.send_headers(self._id, _pairs({**pseudo, **(headers or {})}), end_stream=not open)
        self._flush()
        return self

    def send(self, data: bytes) -> None:
        self._h3.send_data(self._id, data, end_stream=False)
        self._flush()

    def finish(self, trailers: Mapping[str, str] | None = None) -> None:
        if trailers:
            self._h3.send_headers(self._id, _pairs(trailers), end_stream=True)
        else:
            self._h3.send_data(self._id, b"", end_stream=True)
        self._flush()

    def leave(self) -> None:
        """Cancel the stream alone: the connection goes on."""
        self._quic.stop_stream(self._id, ErrorCode.H3_REQUEST_CANCELLED)
        with contextlib.suppress(ValueError, AssertionError):  # all of the request was sent
            self._quic.reset_stream(self._id, ErrorCode.H3_REQUEST_CANCELLED)
        self._flush()

    def close(self) -> None:
        self._quic.close()
        with contextlib.suppress(OSError):
            self._flush()
        super().close()

    def read(self) -> None:
        ends = time.monotonic() + streaming_client.PATIENCE
        while True:
            timer = self._quic.get_timer() or ends
            self.sock.settimeout(max(0.001, min(timer, ends) - time.monotonic()))
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                if time.monotonic() >= ends:
                    raise Late(
                        f"nothing for {streaming_client.PATIENCE:g} s after {self.status} {self.headers} {self.body!r}"
                    ) from None
                self._quic.handle_timer(time.monotonic())
            else:
                self._quic.receive_datagram(data, self._address, time.monotonic())
            self._flush()
            came = False
            while (event := self._quic.next_event()) is not None:
                came = True
                self._greeted = self._greeted or isinstance(event, HandshakeCompleted)
                if isinstance(event, ConnectionTerminated):
                    raise AssertionError(f"the connection was ended: {event.reason_phrase}")
                if isinstance(event, StreamReset) and event.stream_id in self._streams:
                    raise AssertionError(f"the stream was reset: {event.error_code}")
                for each in self._h3.handle_event(event):
                    if isinstance(each, HeadersReceived | DataReceived) and each.stream_id in self._streams:
                        self._streams[each.stream_id]._event(each)
            if came:
                return

    def _event(self, event: HeadersReceived | DataReceived) -> None:
        if isinstance(event, DataReceived):
            self.body += event.data
        else:
            fields = {name.decode(): value.decode() for name, value in event.headers}
            if ":status" not in fields:
                self.trailers = fields
            elif fields[":status"].startswith("1"):
                self.interim.append((int(fields.pop(":status")), fields))
            else:
                self.status, self.headers = int(fields.pop(":status")), fields
        self.ended = self.ended or event.stream_ended


def _pairs(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in fields.items()]
