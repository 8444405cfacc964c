"""`python -m tierline.engines.python CONFIG.json`: serve the applications of one unit.

read the configuration → import each application in its environment → start each → serve → drain on TERM
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from tierline.engines.python.apps import Loaded, load, told_again
from tierline.engines.python.config import Config
from tierline.engines.python.environment import agreed, environment
from tierline.engines.python.serve import Servers
from tierline.trips import record


async def run(config: Config) -> int:
    import os

    record.use(config.hops)
    sys.path.insert(0, config.project)
    os.environ.update({"TIERLINE_ZONE": config.zone, "AWS_REGION": config.region})
    from tierline.engines.python import hooks

    hooks.install(config.resources)
    loaded: list[Loaded] = []
    # Journeys last: they call their neighbours.
    for app in sorted(config.apps, key=lambda app: app.kind == "journeys"):
        with environment(app.env):
            each = load(app, config, loaded)
            await each.start()
            loaded.append(each)
    os.environ.update(agreed(app.env for app in config.apps))
    servers = Servers(loaded, config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, told_again, config)
    serving = asyncio.create_task(servers.serve(stop))
    done: set[Any]
    done, _ = await asyncio.wait(
        {serving, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    if serving in done:
        serving.result()
        return 1
    await servers.drain()
    for each in reversed(loaded):
        await each.stop()
    record.recorder.flush()
    return 0


def main() -> int:
    config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config)
    return uvloop.run(run(config))


if __name__ == "__main__":
    sys.exit(main())
