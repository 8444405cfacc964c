"""`python -m tierline.engines.python CONFIG.json`: serve the applications of one unit.

read the configuration → import each application in its environment → start each → serve → drain on TERM, or
once a successor has the listening sockets
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from tierline.engines import steady
from tierline.engines.python import flying, spare
from tierline.engines.python.apps import Loaded, acquaint, load, told_again
from tierline.engines.python.blame import Blame
from tierline.engines.python.config import Config
from tierline.engines.python.drops import Drops
from tierline.engines.python.environment import agreed, environment
from tierline.engines.python.function import Worker
from tierline.engines.python.growth import Growth
from tierline.engines.python.lasting import GOING_AWAY, RESTARTS
from tierline.engines.python.namespaces import Namespaces, contested
from tierline.engines.python.serve import Servers
from tierline.engines.python.traced import Entered, Traced
from tierline.engines.python.voice import Voice, imported, mistake
from tierline.engines.python.watch import Watch, ending
from tierline.trips import record

_STOPPED = 1.0
"""Seconds for requests that run when the line goes down: those in front have let theirs finish already."""


def told_anew(config: Config, loaded: list[Loaded]) -> None:
    told_again(config)
    for each in loaded:
        if isinstance(each.app, Worker):
            each.app.tell_again()


async def run(config: Config, voice: Voice) -> int:
    record.use(config.hops)
    sys.path.insert(0, config.project)
    os.environ.update({"TIERLINE_ZONE": config.zone, "AWS_REGION": config.region})
    from tierline.engines.python import hooks

    hooks.install(config.resources)
    noted = flying.use(Path(sys.argv[1]).with_name(f"flying-{os.getpid()}"))
    voice.say(
        flying=str(noted.path or ""), targets={app.name: app.target.partition(":")[0] for app in config.apps}
    )
    faulthandler.enable()
    blame = Blame(config.project)
    for code in (Traced.__call__.__code__, Entered.__call__.__code__):
        blame.wrapper(code)
    ending(blame, voice)
    loaded: list[Loaded] = []
    drops = Drops(voice)
    namespaces = Namespaces(config.project, contested(app.env for app in config.apps))
    acquaint(config, loaded)
    # Journeys last: they call their neighbours.
    for app in sorted(config.apps, key=lambda app: app.kind == "journeys"):
        slot = noted.enter(app.name, "its start")
        with environment(app.env), namespaces.loading(app.name):
            each = load(app, config, loaded)
            await each.start()
            loaded.append(each)
        if app.kind == "journeys":
            drops.join(each.inner)
        noted.leave(slot)
        blame.imported(app.name, imported(config.project))
    for name, variables in namespaces.settle().items():
        why = f"reads {', '.join(variables)}" if variables else "imports one that does"
        print(f"{name} {why} at import: each application has a copy of its own", file=sys.stderr, flush=True)
    os.environ.update(agreed(app.env for app in config.apps))
    servers = Servers(loaded, config, voice)
    stop, retired = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, told_anew, config, loaded)
    told_again(config)  # what a signal said while this process was starting

    def retire() -> None:
        retired.set()
        stop.set()

    Traced.watch = Watch(blame, voice, Growth(blame, noted))
    Traced.watch.start()
    voice.listen(servers.sockets, retire)
    spare.note(Path(sys.argv[1]), config.project)
    serving = asyncio.create_task(servers.serve(stop))
    done: set[Any]
    done, _ = await asyncio.wait(
        {serving, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED
    )
    if serving in done:
        serving.result()
        return 1
    if retired.is_set():
        await servers.turn_over()
    if retired.is_set():
        whole = await servers.drain(max(app.drain for app in config.apps), RESTARTS)
    else:
        whole = await servers.drain(_STOPPED, GOING_AWAY)
    for each in reversed(loaded):
        await each.stop()
    record.recorder.flush()
    noted.close()
    if not whole:
        # Ending the loop would cancel what is left, and Granian would end half an answer as if it were whole.
        os._exit(0)
    return 0


def main() -> int:
    steady.begin()
    config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config)
    voice = Voice()
    if os.environ.pop("TIERLINE_SPARE", ""):
        if not spare.wait(Path(sys.argv[1]), config, voice):
            return 0
        config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Config)
    try:
        return uvloop.run(run(config, voice))
    except Exception as error:
        voice.say(failed=mistake(error, config.project), files=imported(config.project), pid=os.getpid())
        raise


if __name__ == "__main__":
    sys.exit(main())
