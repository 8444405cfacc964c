"""DNS over TCP (RFC 7766): several queries on a connection, an idle deadline, no unbounded buffer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import monotonic

from tierline.engines.answers.answerer import Answerer
from tierline.engines.answers.loop import IN, OUT, Loop
from tierline.engines.answers.stats import Stats

_READ = 65_536
_PENDING = 262_144
"""Bytes of answers that a client has not read, above which no more of its queries are."""


class Connection:
    """One client. Its deadline moves only with a whole query or with answers that it takes."""

    def __init__(self, owner: Tcp, client: socket.socket, host: str) -> None:
        self._owner = owner
        self._socket = client
        self._host = host
        self._in = bytearray()
        self._out = bytearray()
        self._ended = False
        self._events = IN
        self.active = monotonic()
        owner.loop.add(client.fileno(), IN, self.ready)

    def ready(self, _events: int) -> None:
        try:
            if self._out:
                self._flush()
            if len(self._out) < _PENDING and not self._ended:
                piece = self._socket.recv(_READ)
                self._ended = not piece
                self._in += piece
            self._queries()
            self._flush()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._ended and not self._out:
            self.close()
            return
        events = (IN if len(self._out) < _PENDING and not self._ended else 0) | (OUT if self._out else 0)
        if events != self._events:
            self._events = events
            self._owner.loop.change(self._socket.fileno(), events)

    def _queries(self) -> None:
        """Answers every whole query that has come, as long as the client reads the answers."""
        at = 0
        while len(self._out) < _PENDING and len(self._in) - at >= 2:
            length = int.from_bytes(self._in[at : at + 2], "big")
            if len(self._in) - at - 2 < length:
                break
            query = bytes(self._in[at + 2 : at + 2 + length])
            at += 2 + length
            self.active = monotonic()
            answers = self._owner.answerer().message(query, self._host)
            if not answers:
                self._ended = True  # no DNS: not worth keeping
                break
            for answer in answers:
                self._out += len(answer).to_bytes(2, "big") + answer
        del self._in[:at]

    def _flush(self) -> None:
        while self._out:
            sent = self._socket.send(self._out)
            del self._out[:sent]
            self.active = monotonic()

    def close(self) -> None:
        self._owner.loop.remove(self._socket.fileno())
        self._socket.close()
        self._owner.connections.discard(self)


class Tcp:
    """One listening socket and its connections."""

    def __init__(
        self,
        loop: Loop,
        family: int,
        address: tuple[str, int],
        answerer: Callable[[], Answerer],
        stats: Stats,
    ) -> None:
        self.loop = loop
        self.answerer = answerer
        self._stats = stats
        self.connections: set[Connection] = set()
        self.idle = 10.0
        self.most = 256
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.socket.setblocking(False)
            self.socket.bind(address)
            self.socket.listen(128)
        except OSError:
            self.socket.close()
            raise

    def ready(self, _events: int) -> None:
        try:
            client, peer = self.socket.accept()
        except OSError:
            return
        if len(self.connections) >= self.most:
            longest = min(self.connections, key=lambda connection: connection.active)
            longest.close()  # the one that has done nothing for longest makes room (RFC 7766, section 6.2.2)
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stats.connections += 1
        self.connections.add(Connection(self, client, peer[0]))

    def expire(self) -> None:
        """Closes connections that were idle for too long. To be called about once a second."""
        oldest = monotonic() - self.idle
        for connection in [c for c in self.connections if c.active < oldest]:
            connection.close()

    def close(self) -> None:
        for connection in list(self.connections):
            connection.close()
        self.loop.remove(self.socket.fileno())
        self.socket.close()
