"""The counter's HTTP side: as little of HTTP/1.1 as an Envoy on the same machine speaks, as each microsecond is spent
for every request that asks.

POST /take     see counts.py; `Authorization` must be the token
GET  /health
"""

from __future__ import annotations

import asyncio
import hmac
from typing import cast

from tierline.engines.counter.counts import Counts

_MOST = 1 << 20
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b"
_NO = b"HTTP/1.1 %d %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection; requests are answered in their order, at once."""

    def __init__(self, counts: Counts, token: str) -> None:
        self._counts, self._token, self._data = counts, token.encode(), b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0 and not self._transport.is_closing():
            head = self._data[:end].split(b"\r\n")
            fields = {
                name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])
            }
            length = fields.get(b"content-length", b"0")
            if b"transfer-encoding" in fields or not length.isdigit() or int(length) > _MOST:
                return self._refuse(400, b"Bad Request")
            whole = end + 4 + int(length)
            if len(self._data) < whole:
                return
            body, self._data = self._data[end + 4 : whole], self._data[whole:]
            self._answer(head[0], fields, body)
        if len(self._data) > 2 * _MOST:
            self._refuse(400, b"Bad Request")

    def _answer(self, line: bytes, fields: dict[bytes, bytes], body: bytes) -> None:
        if line.startswith(b"GET /health "):
            return self._transport.write(_OK % (2, b"ok"))
        if not line.startswith(b"POST /take "):
            return self._refuse(404, b"Not Found")
        if not hmac.compare_digest(fields.get(b"authorization", b""), self._token):
            return self._refuse(403, b"Forbidden")
        try:
            answer = self._counts.take(body.split(b"\n"))
        except ValueError:
            return self._refuse(400, b"Bad Request")
        self._transport.write(_OK % (len(answer), answer))

    def _refuse(self, status: int, reason: bytes) -> None:
        self._transport.write(_NO % (status, reason))
        self._transport.close()
