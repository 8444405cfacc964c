"""Real servers for these tests: an application on Granian, and raw ones that say what they are told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from ports import free_port
from waiting import PATIENCE, eventually

HERE = Path(__file__).parent


@contextlib.contextmanager
def granian(target: str, *, port: int = 0, uds: str = "", **environment: str) -> Iterator[str]:
    """`module:app` of this folder on a Granian server; its address."""
    port = port or free_port()
    where = ["--uds", uds] if uds else ["--host", "127.0.0.1", "--port", str(port)]
    argv = [sys.executable, "-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--no-ws"]
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    server = subprocess.Popen(
        [*argv, "--log-level", "error", *where, target], env=env, start_new_session=True
    )
    try:

        def listens() -> bool:
            assert server.poll() is None, "the server ended"
            with socket.socket(socket.AF_UNIX if uds else socket.AF_INET) as probe:
                return probe.connect_ex(uds or ("127.0.0.1", port)) == 0

        assert eventually(listens)
        yield f"unix:{uds}" if uds else f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw(behave: Behave) -> AsyncIterator[str]:
    """A server that reads each request's head, then does what it is told."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await behave(reader, writer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def says(*pieces: bytes, close: bool = False, pause: float = 0.0) -> Behave:
    """Answers with these bytes, each in a packet of its own."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)  # slow: as the test asks
        if close:
            writer.close()
            raise ConnectionError

    return behave
