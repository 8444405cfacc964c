"""Ports for servers that tests start themselves."""

from __future__ import annotations

import os
import socket
from collections import deque

# Below the ephemeral range, where an outgoing connection may take a port between its choice and its use, and beside
# what tierline chooses for its own lines.
_FIRST, _LAST = 13000, 19999
_next = _FIRST + os.getpid() * 61 % (_LAST - _FIRST)
_held: deque[socket.socket] = deque()


def free_port() -> int:
    """A TCP and UDP port that is free on every address, IPv4 and IPv6. No other test gets it, not even one in
    another process, until 1,000 more were given out."""
    global _next
    for _ in range(_FIRST, _LAST):
        port = _next
        _next = port + 1 if port < _LAST else _FIRST
        if _is_free(port) and _hold(port):
            return port
    raise AssertionError(f"no free port from {_FIRST} to {_LAST}")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                probe = socket.socket(family, kind)
            except OSError:
                continue  # this machine has no IPv6
            with probe:
                try:
                    probe.bind(("", port))
                except OSError:
                    return False
    return True


def _hold(port: int) -> bool:
    """An abstract socket is nobody's file and ends with this process."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0tierline-test-port-{port}")
    except OSError:
        mark.close()
        return False
    _held.append(mark)
    if len(_held) > 1000:
        _held.popleft().close()
    return True
