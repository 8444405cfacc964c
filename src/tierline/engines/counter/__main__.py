"""Runs the counter: `python -m tierline.engines.counter CONFIG.json`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from tierline.engines import steady
from tierline.engines.counter.counts import Counts
from tierline.engines.counter.server import Connection
from tierline.engines.counter.store import Store


async def run(told: dict[str, Any]) -> None:
    store = Store(Path(told["store"]))
    counts = Counts(store.kept(), store.keep)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(lambda: Connection(counts, told["token"]), told["host"], told["port"])
    await stop.wait()
    server.close()
    store.close()


if __name__ == "__main__":
    steady.begin()
    sys.exit(uvloop.run(run(json.loads(Path(sys.argv[1]).read_text()))))
