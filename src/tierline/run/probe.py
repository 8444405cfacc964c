"""Whether a process answers: ready means that the engine spoke, not that it was started."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

from tierline.engines.base import Probe
from tierline.engines.sockets import short

_TIMEOUT = 1.0


SLOW = 10.0
"""Seconds for one answer of a process that starts: some products take their time for a page."""


async def answers(probe: Probe, within: float = _TIMEOUT) -> bool:
    """One try, `within` seconds at most."""
    try:
        async with asyncio.timeout(within):
            return await _KINDS[probe.kind](probe)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        return False


async def _none(probe: Probe) -> bool:
    return True


async def _tcp(probe: Probe) -> bool:
    async with _connection(probe.target):
        return True


async def _http(probe: Probe) -> bool:
    rest = probe.target.partition("://")[2]
    address, _, path = rest.partition("/")
    async with _connection(address) as (reader, writer):
        headers = "".join(f"{name}: {value}\r\n" for name, value in probe.headers.items())
        writer.write(
            f"GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n".encode()
        )
        status = (await reader.readline()).split()
        return len(status) > 1 and int(status[1]) < probe.below


async def _redis(probe: Probe) -> bool:
    async with _connection(probe.target) as (reader, writer):
        writer.write(b"PING\r\n")
        # Asking for a password is an answer; loading its data is not yet one.
        return (await reader.readline()).startswith((b"+PONG", b"-NOAUTH"))


async def _nats(probe: Probe) -> bool:
    async with _connection(probe.target) as (reader, _):
        return (await reader.readline()).startswith(b"INFO ")


async def _say(probe: Probe) -> bool:
    async with _connection(probe.target) as (reader, writer):
        writer.write(probe.say)
        said = await reader.read(1024)
        return bool(said) and said.startswith(probe.expect)


async def _exec(probe: Probe) -> bool:
    process = await asyncio.create_subprocess_exec(
        *probe.argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        return await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.returncode is None:
                process.kill()


async def _dns(probe: Probe) -> bool:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in probe.name.split("."))
    query = struct.pack("!6H", 4711, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 6, 1)
    async with _connection(probe.target) as (reader, writer):
        writer.write(struct.pack("!H", len(query)) + query)
        size = struct.unpack("!H", await reader.readexactly(2))[0]
        reply = await reader.readexactly(size)
        # An error is the answer of a server that listens, but has not loaded its zones yet.
        return reply[:2] == query[:2] and not reply[3] & 15


@contextlib.asynccontextmanager
async def _connection(target: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    if target.startswith("unix:"):
        with short(target.removeprefix("unix:")) as path:
            reader, writer = await asyncio.open_unix_connection(path)
    else:
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


_KINDS = {
    "none": _none,
    "tcp": _tcp,
    "http": _http,
    "redis": _redis,
    "nats": _nats,
    "exec": _exec,
    "say": _say,
    "udp-dns": _dns,
}
