"""Starting plain servers, and asking applications in this process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from waiting import eventually

CINEMA = Path(__file__).parents[2] / "examples" / "cinema"
sys.path.insert(0, str(CINEMA))

ROOT = os.geteuid() == 0


@contextmanager
def process(
    *argv: str, ready: Callable[[], object], user: str | None = None, stop: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    log = tempfile.TemporaryFile()
    running = subprocess.Popen(argv, stdout=log, stderr=log, user=user, cwd="/")
    try:

        def up() -> bool:
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                ready()
                return True
            return False

        if not eventually(lambda: running.poll() is not None or up()) or running.poll() is not None:
            log.seek(0)
            pytest.fail(f"{argv[0]} did not start:\n{log.read().decode()[-2000:]}")
        yield running
    finally:
        running.send_signal(stop)
        try:
            running.wait(5)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def listening(port: int) -> Callable[[], object]:
    return lambda: socket.create_connection(("127.0.0.1", port), 1).close()


def answers(url: str) -> None:
    with urllib.request.urlopen(url, timeout=1):
        pass


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which has started."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://cinema.test") as client:
            yield client
