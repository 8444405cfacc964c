"""Runs the inbox: `python -m tierline.engines.mailbox CONFIG.json`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from tierline.engines import steady
from tierline.engines.mailbox.pop3 import serve as serve_pop3
from tierline.engines.mailbox.smtp import serve as serve_smtp
from tierline.engines.mailbox.store import Store
from tierline.engines.mailbox.web import serve as serve_web


async def run(config: dict[str, Any]) -> None:
    store = Store(Path(config["folder"]), keep=config["keep"])
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    # HTTP last: the readiness probe asks it.
    servers = [await serve(store, config) for serve in (serve_smtp, serve_pop3)]
    if config["imap"]:
        from tierline.engines.mailbox.imap import serve as serve_imap

        serve_imap(store, config)
    servers.append(await serve_web(store, config))
    await ended.wait()
    for server in servers:
        server.close()  # without `wait_closed`: a client that holds its connection would hold up the stop


if __name__ == "__main__":
    steady.begin()
    settings = json.loads(Path(sys.argv[1]).read_text())
    try:
        asyncio.run(run(settings))
    except OSError as problem:
        sys.exit(f"mailbox: {problem}")
