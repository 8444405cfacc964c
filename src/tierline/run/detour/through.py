"""A connection by way of the detour."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING

from tierline.run.detour.reuseport import towards

if TYPE_CHECKING:
    from tierline.run.detour.switch import Detour

_MOST_HELD = 1 << 20
"""Bytes on their way through one connection, at most: then its sender waits, as TCP has it."""


class Through(asyncio.Protocol):
    """One connection by way of the detour: `Through` faces the client, `_Back` the part."""

    def __init__(self, detour: Detour, address: tuple[str, int]) -> None:
        self._detour, self._address = detour, address
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.client: asyncio.Transport
        self.part: asyncio.Transport | None = None
        self.name: tuple[str, int] | None = None
        """Our side of the connection to the part."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.client = transport  # type: ignore[assignment]
        self._detour.through.add(self)
        self._detour.spawn(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        peer = self.client.get_extra_info("peername") or ("",)
        sock = towards(socket.SOCK_STREAM, str(peer[0]))
        self.name = sock.getsockname()  # known before the part can see it
        try:
            async with asyncio.timeout(5):
                await loop.sock_connect(sock, self._address)
                await loop.create_connection(lambda: _Back(self), sock=sock)
        except (OSError, TimeoutError):
            sock.close()
            self.client.abort()
            return
        if self.client.is_closing() and self.part is not None:
            self.part.abort()
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._put(data)

    def eof_received(self) -> bool:
        self._put(b"")  # the end waits its turn
        return True

    def _put(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        # What comes later never overtakes.
        self._last = max(self._last, loop.time() + self._detour.pace.draw())
        self._waiting.append((self._last, data))
        self._held += len(data)
        if self._held > _MOST_HELD:
            self.client.pause_reading()
        if self.part is not None and len(self._waiting) == 1:
            self._flush()

    def hurry(self) -> None:
        """The delay was changed: what waits goes at once when there is none any more."""
        if not self._detour.pace.seconds:
            self._last = 0.0
            self._waiting = deque((0.0, data) for _, data in self._waiting)
            self._flush()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.part is None:
            return
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, data = self._waiting.popleft()
            self._held -= len(data)
            if data:
                self.part.write(data)
            elif self.part.can_write_eof():
                self.part.write_eof()
        if self._held <= _MOST_HELD // 2 and not self.client.is_closing():
            self.client.resume_reading()
        if self._waiting:
            self._timer = loop.call_at(self._waiting[0][0], self._flush)

    def pause_writing(self) -> None:
        if self.part is not None:
            self.part.pause_reading()

    def resume_writing(self) -> None:
        if self.part is not None:
            self.part.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._detour.gone(self)
        if self._timer is not None:
            self._timer.cancel()
        if self.part is not None and not self.part.is_closing():
            if error is None:
                self.part.close()
            else:
                self.part.abort()


class _Back(asyncio.Protocol):
    """The part's side of a connection."""

    def __init__(self, front: Through) -> None:
        self._front = front

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._front.part = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._front.client.write(data)

    def eof_received(self) -> bool:
        if self._front.client.can_write_eof() and not self._front.client.is_closing():
            self._front.client.write_eof()
        return True

    def pause_writing(self) -> None:
        self._front.client.pause_reading()

    def resume_writing(self) -> None:
        if not self._front.client.is_closing():
            self._front.client.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if error is None:
            self._front.client.close()
        else:
            self._front.client.abort()
