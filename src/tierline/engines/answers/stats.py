"""What the server counts, and the Unix socket that tells it.

    {"queries": 1200, "rcodes": {"NOERROR": 1190, …}, "places": {"eu-west-1": 800, …},
     "cache": {"hits": 1100}, "limited": {"dropped": 0, "truncated": 0}, "ignored": 0, "transfers": 0,
     "failures": 0, "hops": 3, "connections": 1, "started": 1763967368.1, "loaded": 1763967368.1,
     "refused": 0, "targets": {"eu-west-1/cdn.eu-west-1": {"healthy": true, "since": …, "checks": 40,
     "failures": 0, "reason": ""}}}

`cache.hits` are queries whose answer was already whole; `ignored` were no queries at all; `refused` counts
configurations that could not be used; times are seconds since the epoch.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

import msgspec

from tierline.engines.answers.reply import Tally
from tierline.engines.sockets import short


class Stats:
    def __init__(self) -> None:
        self.rcodes: Counter[str] = Counter()
        self.places: Counter[str] = Counter()
        self.hits = 0
        self.ignored = 0
        self.dropped = 0
        self.truncated = 0
        self.transfers = 0
        self.failures = 0
        self.hops = 0
        self.lost = 0
        self.connections = 0
        self.refused = 0
        self.started = self.loaded = time()

    def add(self, tally: Tally, count: int) -> None:
        self.rcodes[tally.rcode] += count
        for place in tally.places:
            self.places[place] += count

    def error(self, rcode: str) -> None:
        self.rcodes[rcode] += 1

    def limited(self, dropped: bool) -> None:
        if dropped:
            self.dropped += 1
        else:
            self.truncated += 1

    def failed(self, error: Exception) -> None:
        """An answer that met a mistake of ours: the first is told with a traceback, the rest counted."""
        if not self.failures:
            with suppress(OSError, ValueError):
                traceback.print_exception(error, file=sys.stderr)
        self.failures += 1

    def data(self, targets: dict[str, Any]) -> dict[str, Any]:
        return {
            "queries": sum(self.rcodes.values()),
            "rcodes": dict(self.rcodes),
            "places": dict(self.places),
            "cache": {"hits": self.hits},
            "limited": {"dropped": self.dropped, "truncated": self.truncated},
            "ignored": self.ignored,
            "transfers": self.transfers,
            "failures": self.failures,
            "hops": self.hops,
            "hops_lost": self.lost,
            "connections": self.connections,
            "started": self.started,
            "loaded": self.loaded,
            "refused": self.refused,
            "targets": targets,
        }


def listen(path: str) -> socket.socket:
    """The socket, readable by its owner alone; a left-over one is replaced."""
    Path(path).unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short(path) as name:
            server.bind(name)
    finally:
        os.umask(before)
    server.listen(8)
    server.setblocking(False)
    return server


def read(path: str, timeout: float = 2.0) -> dict[str, Any]:
    """The counts of a running server. Raises OSError when none listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, short(path) as name:
        client.settimeout(timeout)
        client.connect(name)
        text = b""
        while piece := client.recv(65536):
            text += piece
    found: dict[str, Any] = msgspec.json.decode(text)
    return found
