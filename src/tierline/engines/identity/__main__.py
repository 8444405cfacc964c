"""Runs the provider: `python -m tierline.engines.identity CONFIG.json`."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from tierline.engines import steady
from tierline.engines.identity.provider import Provider
from tierline.engines.identity.web import Web


async def run(told: dict[str, Any]) -> int:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    logging.getLogger("_granian").setLevel(logging.WARNING)
    server = Server(
        Web(Provider(told)),
        address=told["host"],
        port=told["port"],
        interface=Interfaces.ASGINL,
        log_access=False,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]
    return 0 if waiting in done else 1


if __name__ == "__main__":
    steady.begin()
    sys.exit(uvloop.run(run(json.loads(Path(sys.argv[1]).read_text()))))
