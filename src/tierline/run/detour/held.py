"""A connection that the part had before the delay began: the part is told later of what arrives on it.

Ours is a second handle of the part's own socket. Two options of the socket do it, whoever reads and writes:

    what comes in   SO_RCVLOWAT (socket(7)) keeps the part asleep until it is due
    what goes out   TCP_CORK (tcp(7)) keeps the answer in the socket until what comes next is held again

The second closes a gap: without it a client that asks again at once, over a connection whose part was just told,
would be heard at once whenever we are late. It can't ask again before it has its answer, and gets that only when we
are ready. The kernel lets an answer go by itself after 200 ms, so a detour that dies holds up nobody for longer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
import termios
from collections import deque

from tierline.run.detour.pace import Pace

_QUIET = 1 << 18
"""Bytes that must have arrived before the part is told of them all the same."""
_INFO = struct.Struct("=52xI72xQ8xI")
"""Of struct tcp_info (linux/tcp.h): last_data_recv in ms, bytes_received, notsent_bytes."""


class Held:
    """See the module. `link`: the part's own handle below /proc, `name`: what it leads to."""

    def __init__(self, sock: socket.socket, link: str, name: str) -> None:
        self.sock, self.name = sock, name
        self._link = link
        self._due: deque[tuple[int, float]] = deque()
        """What has arrived up to a position in the stream may be read from a time on."""
        self._last = 0.0
        _, received, _ = self._info()
        self._seen = self._open = received - self._pending()
        """Up to where arrivals have a time, and up to where they may be read."""
        self.told = False
        self._quiet(True)
        self._cork(True)

    def look(self, now: float, pace: Pace) -> bool:
        """False when the connection has ended: the part has closed its own handle."""
        try:
            if os.readlink(self._link) != self.name:  # noqa: PTH115  many, and often
                return False
            since, received, unsent = self._info()
        except OSError:
            return False
        if received > self._seen:
            # What comes later never overtakes.
            self._last = max(self._last, now - since / 1000 + pace.draw())
            self._due.append((received, self._last))
            self._seen = received
        while self._due and self._due[0][1] <= now:
            self._open, _ = self._due.popleft()
        if (unread := received - self._pending() < self._open) != self.told:
            self.told = unread
            if unread:
                self._cork(True)  # some part may have taken it off
            self._quiet(not unread)
        if unsent:
            self._cork(False)  # what waits goes in this very call
            self._cork(True)
        return True

    def release(self) -> None:
        self._quiet(False)
        self._cork(False)
        self.sock.close()

    def _quiet(self, quiet: bool) -> None:
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _QUIET if quiet else 1)

    def _cork(self, corked: bool) -> None:
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, int(corked))

    def _info(self) -> tuple[int, int, int]:
        since, received, unsent = _INFO.unpack(
            self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        )
        return since, received, unsent

    def _pending(self) -> int:
        with contextlib.suppress(OSError):
            found: int = struct.unpack("i", fcntl.ioctl(self.sock, termios.FIONREAD, bytes(4)))[0]
            return found
        return 0
