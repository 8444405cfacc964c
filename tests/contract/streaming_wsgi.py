"""A WSGI application that streams: its pieces leave when a second request asks for them."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

PIECE = "data: piece {} of a stream that a client reads as it comes\n\n"
asked: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(0))


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """See the module."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"]).items()}
    if environ["PATH_INFO"].endswith("/stream"):
        start_response("200 OK", [("content-type", "text/event-stream")])
        for number in range(3):
            yield PIECE.format(number).encode()
            asked[query["id"]].acquire(timeout=60)
    else:
        asked[query["id"]].release()
        start_response("200 OK", [("content-type", "text/plain"), ("cache-control", "no-store")])
        yield b"released"
