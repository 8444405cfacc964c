"""Datagrams by way of the detour: DNS, HTTP/3. Each client has a socket of its own to the part, as behind a NAT."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import OrderedDict, deque
from typing import Any

from tierline.run.detour.pace import Pace
from tierline.run.detour.reuseport import target, towards

_AT_ONCE = 64
"""Datagrams per turn."""
_LARGEST = 1 << 16
_MOST_CLIENTS = 1024
"""Then the one that was quiet for longest is forgotten; when it speaks again the part sees a new port of it."""
_MOST_HELD = 1 << 20
"""Bytes of one client that wait, at most: what is more is lost, as on any way that is full."""
_IDLE = 60.0
"""Seconds after which a client that says nothing is forgotten."""

Address = tuple[Any, ...]


class Datagrams:
    """All that comes to one address of the part over UDP. `mine`: our socket there."""

    def __init__(self, mine: socket.socket, pace: Pace) -> None:
        self.mine, self.pace, self.target = mine, pace, target(mine)
        self._loop = asyncio.get_running_loop()
        self._clients: OrderedDict[Address, _Client] = OrderedDict()
        self._loop.add_reader(mine, self.receive)
        self._sweeper = self._loop.call_later(_IDLE / 2, self._sweep)

    def receive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, address = self.mine.recvfrom(_LARGEST)
            except OSError:  # nothing more, or what the kernel says of an earlier one
                return
            client = self._clients.get(address)
            if client is None:
                try:
                    client = self._clients[address] = _Client(self, address)
                except OSError:
                    continue  # lost on its way
                if len(self._clients) > _MOST_CLIENTS:
                    self._clients.popitem(last=False)[1].close()
            self._clients.move_to_end(address)
            client.put(data)

    def hurry(self) -> None:
        for client in self._clients.values():
            client.hurry()

    def _sweep(self) -> None:
        long_ago = self._loop.time() - _IDLE
        for address in [each for each, client in self._clients.items() if client.spoke < long_ago]:
            self._clients.pop(address).close()
        self._sweeper = self._loop.call_later(_IDLE / 2, self._sweep)

    def close(self) -> None:
        self._sweeper.cancel()
        self._loop.remove_reader(self.mine)
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self.mine.close()


class _Client:
    """One client's datagrams on their way, and the answers to it, which go back at once."""

    def __init__(self, all: Datagrams, address: Address) -> None:
        self._all, self._address = all, address
        self._loop = asyncio.get_running_loop()
        self._sock = towards(socket.SOCK_DGRAM, str(address[0]))
        self._sock.connect(all.target)
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._held, self._last = 0, 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.spoke = self._loop.time()
        self._loop.add_reader(self._sock, self._answered)

    def put(self, data: bytes) -> None:
        now = self.spoke = self._loop.time()
        if self._held + len(data) > _MOST_HELD:
            return
        self._last = max(self._last, now + self._all.pace.draw())
        self._waiting.append((self._last, data))
        self._held += len(data)
        if len(self._waiting) == 1:
            self._flush()

    def hurry(self) -> None:
        """The delay was changed: what waits goes at once when there is none any more."""
        if not self._all.pace.seconds:
            self._last = 0.0
            self._waiting = deque((0.0, data) for _, data in self._waiting)
            self._flush()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._waiting[0][0] <= self._loop.time():
            _, data = self._waiting.popleft()
            self._held -= len(data)
            with contextlib.suppress(OSError):  # full, or nobody there: lost
                self._sock.send(data)
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._flush)

    def _answered(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = self._sock.recv(_LARGEST)
                self._all.mine.sendto(data, self._address)
            except BlockingIOError:
                return
            except OSError:
                continue

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
