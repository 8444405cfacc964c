"""A client that sees what arrives when it arrives, over HTTP/1.1 and HTTP/2 alike; streaming_quic.py has HTTP/3."""

from __future__ import annotations

import contextlib
import socket
import ssl
import zlib
from collections.abc import Mapping
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events

PATIENCE = 8.0
"""Seconds for what has to arrive at once: a bound for a slow machine, never what is waited for."""


class Late(AssertionError):
    """What should have arrived didn't."""


class Exchange:
    """One request on a connection of its own."""

    status = 0
    interim: list[tuple[int, dict[str, str]]]
    headers: dict[str, str]
    trailers: dict[str, str]

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None, authority: str) -> None:
        self.sock: Any = socket.create_connection(address, timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=authority.partition(":")[0])
        self.authority = authority
        self.interim, self.headers, self.trailers = [], {}, {}
        self.body = b""
        self.ended = False
        self._inflate: Any = None

    def read(self) -> None:
        """Read once. Raises Late when nothing comes."""
        raise NotImplementedError

    def head(self) -> int:
        """The status, as soon as it is there."""
        while not self.status:
            self.read()
        return self.status

    def hints(self) -> str:
        """The Link of the 103, as soon as it is there; none when the answer comes first."""
        while not self.interim and not self.status:
            self.read()
        return "".join(fields.get("link", "") for status, fields in self.interim if status == 103)

    def until(self, text: str) -> str:
        """The body so far, as soon as the text is in it."""
        while text not in self.text:
            if self.ended:
                raise AssertionError(f"the answer ended ({self.status}) without {text!r}: {self.text!r}")
            self.read()
        return self.text

    def whole(self) -> str:
        """The body, once it has ended."""
        while not self.ended:
            self.read()
        return self.text

    @property
    def text(self) -> str:
        coding = self.headers.get("content-encoding", "")
        if coding == "gzip":
            return zlib.decompressobj(31).decompress(self.body).decode()
        assert not coding, coding
        return self.body.decode(errors="replace")

    def leave(self) -> None:
        """As a browser does when its page is closed."""
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()

    def _recv(self) -> bytes:
        try:
            data: bytes = self.sock.recv(65536)
        except TimeoutError:
            raise Late(
                f"nothing for {PATIENCE:g} s after {self.status} {self.headers} {self.body!r}"
            ) from None
        return data


class HTTP1(Exchange):
    """Over HTTP/1.1. A body of unknown length is sent in chunks."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None, authority: str) -> None:
        super().__init__(address, tls, authority)
        self._raw = b""
        self._left: int | None = None

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        open: bool = False,
        body: bytes = b"",
    ) -> HTTP1:
        fields = {"host": self.authority, **(headers or {})}
        if open:
            fields["transfer-encoding"] = "chunked"
        elif method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
            fields.setdefault("content-length", "0")
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._method = method
        self.sock.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return self

    def send(self, data: bytes) -> None:
        self.sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self, trailers: Mapping[str, str] | None = None) -> None:
        fields = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
        self.sock.sendall(f"0\r\n{fields}\r\n".encode())

    def read(self) -> None:
        data = self._recv()
        if not data:
            if self.status and "content-length" not in self.headers and not self._chunked:
                self.ended = True
                return
            raise AssertionError(f"closed after {self.status} {self.headers} {self._raw!r}")
        self._raw += data
        self._parse()

    @property
    def _chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "")

    def _parse(self) -> None:
        while not self.status:
            head, found, rest = self._raw.partition(b"\r\n\r\n")
            if not found:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            fields = {}
            for line in lines:
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
            status, self._raw = int(first.split()[1]), rest
            if 100 <= status < 200 and status != 101:
                self.interim.append((status, fields))
            else:
                self.status, self.headers = status, fields
                if self._method == "HEAD" or status in (204, 304):
                    self.ended = True
        if self._chunked:
            self._chunks()
        else:
            self.body, self._raw = self.body + self._raw, b""
            if "content-length" in self.headers and len(self.body) >= int(self.headers["content-length"]):
                self.ended = True

    def _chunks(self) -> None:
        while not self.ended:
            line, found, rest = self._raw.partition(b"\r\n")
            if not found:
                return
            size = int(line.split(b";")[0], 16)
            if size and len(rest) >= size + 2:
                self.body, self._raw = self.body + rest[:size], rest[size + 2 :]
            elif size:
                return
            elif rest.startswith(b"\r\n"):
                self.ended = True
            elif b"\r\n\r\n" in rest:
                for each in rest.partition(b"\r\n\r\n")[0].decode().split("\r\n"):
                    name, _, value = each.partition(":")
                    self.trailers[name.lower()] = value.strip()
                self.ended = True
            else:
                return


class HTTP2(Exchange):
    """Over HTTP/2; `more` asks for another stream of the same connection."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None, authority: str) -> None:
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        super().__init__(address, tls, authority)
        if tls is not None:
            assert self.sock.selected_alpn_protocol() == "h2"
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._streams: dict[int, HTTP2] = {}
        self._first = self
        self._flush()

    def more(self) -> HTTP2:
        made = HTTP2.__new__(HTTP2)
        made.__dict__ |= {**self.__dict__, "status": 0, "interim": [], "headers": {}, "trailers": {}}
        made.__dict__ |= {"body": b"", "ended": False}
        return made

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self.sock.sendall(data)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, open: bool = False
    ) -> HTTP2:
        self._id = self._h2.get_next_available_stream_id()
        self._streams[self._id] = self
        scheme = "https" if isinstance(self.sock, ssl.SSLSocket) else "http"
        pseudo = {":method": method, ":scheme": scheme, ":authority": self.authority, ":path": path}
        self._h2.send_headers(self._id, list({**pseudo, **(headers or {})}.items()), end_stream=not open)
        self._flush()
        return self

    def send(self, data: bytes) -> None:
        self._h2.send_data(self._id, data)
        self._flush()

    def finish(self, trailers: Mapping[str, str] | None = None) -> None:
        if trailers:
            self._h2.send_headers(self._id, list(trailers.items()), end_stream=True)
        else:
            self._h2.end_stream(self._id)
        self._flush()

    def leave(self) -> None:
        """Cancel the stream alone: the connection goes on."""
        self._h2.reset_stream(self._id, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    def read(self) -> None:
        data = self._recv()
        if not data:
            raise AssertionError(f"closed after {self.status} {self.headers} {self.body!r}")
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ConnectionTerminated):
                raise AssertionError(f"the connection was ended: {event.error_code!r}")
            mine = self._streams.get(getattr(event, "stream_id", None) or 0)
            if mine is not None:
                mine._event(event)
        self._flush()

    def _event(self, event: Any) -> None:
        if isinstance(event, h2.events.InformationalResponseReceived):
            fields = dict(event.headers)
            self.interim.append((int(fields.pop(":status")), fields))
        elif isinstance(event, h2.events.ResponseReceived):
            self.headers = dict(event.headers)
            self.status = int(self.headers.pop(":status"))
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            raise AssertionError(f"the stream was reset: {event.error_code!r}")


VERSIONS = {"HTTP/1.1": HTTP1, "HTTP/2": HTTP2}
