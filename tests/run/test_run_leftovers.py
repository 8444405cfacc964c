"""What engines keep outside the state folder is gone with the line, also when all of it was killed at once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from waiting import PATIENCE
from workbench import HELLO, Bench

STACK = """
from tierline import Bucket, Gateway, Relational, Service, Stack
uses = [Relational("films"), Bucket("posters")]
stack = Stack("left", gateway=Gateway(), services=[Service("hello", "hello:app", uses=uses, expose=["/"])], zones=["a"])
"""


def segments() -> set[int]:
    return {int(line.split()[1]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def test_nothing_outside_the_folder_outlives_the_line_and_its_data(bench: Callable[..., Bench]) -> None:
    line = bench(STACK, hello=HELLO)
    line.up()
    status = line.status()
    maps = [Path(f"/proc/{p['pid']}/maps").read_text() for p in status["processes"] if p["engine"] == "envoy"]
    assert maps and not any("/dev/shm/" in each for each in maps), "Envoy would leave it behind"
    (note,) = line.state.glob("data/*/sockets.json")
    sockets = [Path(each) for each in json.loads(note.read_text())]
    (pid,) = line.state.glob("data/**/postmaster.pid")
    segment = int(pid.read_text().splitlines()[6].split()[1])
    assert segment in segments() and any(each.exists() for each in sockets)
    supervisor = psutil.Process(status["pid"])
    for each in [supervisor, *supervisor.children(recursive=True)]:  # the guardian, too
        with suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)
    psutil.wait_procs([supervisor], timeout=PATIENCE)
    line.down("--volumes")
    assert segment not in segments()
    assert not any(each.exists() for each in sockets)
