"""An HTTP/3 client that asks for a few paths on one connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration


class _Client(QuicConnectionProtocol):
    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._http = H3Connection(self._quic)
        self._answers: dict[int, tuple[asyncio.Future[tuple[int, bytes]], list[Any]]] = {}

    async def get(self, host: str, path: str) -> tuple[int, bytes]:
        stream = self._quic.get_next_available_stream_id()
        done: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._answers[stream] = (done, [0, b""])
        head = {":method": "GET", ":scheme": "https", ":authority": host, ":path": path}
        self._http.send_headers(
            stream, [(name.encode(), value.encode()) for name, value in head.items()], True
        )
        self.transmit()
        return await done

    def quic_event_received(self, event: Any) -> None:
        for each in self._http.handle_event(event):
            if isinstance(each, HeadersReceived | DataReceived) and each.stream_id in self._answers:
                done, found = self._answers[each.stream_id]
                if isinstance(each, HeadersReceived):
                    found[0] = found[0] or int(dict(each.headers).get(b":status", b"0"))
                else:
                    found[1] += each.data
                if each.stream_ended and not done.done():
                    done.set_result((found[0], found[1]))


@contextlib.asynccontextmanager
async def session(host: str, port: int, name: str, authority: Path) -> AsyncIterator[Any]:
    """One connection: `await .get(name, path)`."""
    settings = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name)
    settings.load_verify_locations(str(authority))
    async with connect(host, port, configuration=settings, create_protocol=_Client) as client:
        yield client


def get(host: str, port: int, name: str, paths: list[str], authority: Path) -> list[tuple[int, bytes]]:
    """Status and body of each path."""

    async def ask() -> list[tuple[int, bytes]]:
        async with asyncio.timeout(60), session(host, port, name, authority) as client:
            return list(await asyncio.gather(*(client.get(name, path) for path in paths)))

    return asyncio.run(ask())
