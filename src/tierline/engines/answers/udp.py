"""Answering datagrams: the hot path."""

from __future__ import annotations

import socket
from collections.abc import Callable

from tierline.engines.answers.answerer import Answerer

_AT_ONCE = 64
"""Datagrams per turn, so that TCP, checks and signals have theirs under a flood."""
_LARGEST = 4096
_BUFFER = 4 << 20


class Udp:
    """One UDP socket. `answerer` gives the one of the configuration that holds now."""

    def __init__(self, family: int, address: tuple[str, int], answerer: Callable[[], Answerer]) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self._answerer = answerer
        try:
            if family == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                self.socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
            self.socket.setblocking(False)
            self.socket.bind(address)
        except OSError:
            self.socket.close()
            raise

    def ready(self, _events: int) -> None:
        """Drains what has come."""
        answerer = self._answerer()
        source_of = answerer.sources.get
        known = answerer.known
        receive = self.socket.recvfrom
        send = self.socket.sendto
        for _ in range(_AT_ONCE):
            try:
                data, peer = receive(_LARGEST)
            except OSError:  # nothing more, or an ICMP error for an earlier answer
                return
            answer = None
            source = source_of(peer[0])
            if source is not None and source.bucket is None:
                answer = known(data, source.locale)
            if answer is None:
                answer = answerer.datagram(data, peer[0])
            if answer is not None:
                try:
                    send(answer, peer)
                except OSError:  # a full buffer or an unreachable client: as if lost on the way
                    continue
