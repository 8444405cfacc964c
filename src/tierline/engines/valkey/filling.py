"""How full a Valkey is that evicts nothing."""

from __future__ import annotations

import asyncio

from tierline.engines.base import Filling, Process

_ADVICE = "writes that don't fit are refused (OOM): give Sessions(memory=…) more, or a shorter ttl"


async def filling(process: Process) -> Filling | None:
    """What it says of itself (INFO memory); None: it has no bound. Raises OSError or ValueError when it says nothing
    that can be read."""
    host, _, port = process.ready.target.rpartition(":")
    config = next(text for path, text in process.files.items() if path.endswith("valkey.conf"))
    password = next(line.split()[1] for line in config.splitlines() if line.startswith("requirepass "))
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"AUTH {password}\r\nINFO memory\r\n".encode())
        await reader.readline()
        size = (await reader.readline()).strip()
        told = (await reader.readexactly(int(size.removeprefix(b"$")))).decode()
    finally:
        writer.close()
    known = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    used, most = int(known["used_memory"]), int(known["maxmemory"])
    return Filling(used, most, _ADVICE) if most else None
