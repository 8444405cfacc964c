"""An hour's worth of changes in a minute: instances come and go, copies are purged, routes change, under load.

And what breaks by itself: an instance, a zone, a place. All on the whole edge of a small stack, so that what is
measured is the line and not an application's own databases.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tierline.compare import load, watch, workload
from tierline.run import control
from tierline.run.state import State
from tierline.tiers.client.tier import Visit

ROUNDS = 60
RATE = 200.0

APP = """
import os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    cached = scope["path"].startswith("/kept")
    headers = [(b"content-type", b"text/plain"), (b"cache-control", b"max-age=60" if cached else b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""

STACK = """
from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Route, Scale, Service, Stack
stack = Stack(
    "changing", dns=DNS("changing.test", health="/health"), cdn=CDN(places=["eu-west-1", "us-east-1"]), lb=LoadBalancer(),
    cache=HTTPCache(), gateway=Gateway(routes=[ROUTES]), zones=["a", "b"],
    services=[Service("who", "who:app", expose=["/"], scale=Scale(1, 3))],
)
"""
VISITS = [Visit("/kept/1", 1), Visit("/kept/2", 1), Visit("/fresh", 2)]


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="tierline-bench-") as folder:
        place = Path(folder)
        (place / "who.py").write_text(APP)
        (place / "stack.py").write_text(stack(0))
        _tierline(place, "up", "--detach")
        try:
            return [*changed(place), *broken(place)]
        finally:
            _tierline(place, "down", "--volumes")


def stack(number: int) -> str:
    """The stack file after the n-th change of its routes."""
    return STACK.replace("ROUTES", f"Route('/changed/{number}', to='who')" if number else "")


def changed(place: Path, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Rows of `rounds` changes of each kind, a round a second."""
    state = State(place / "stack.py")
    times: dict[str, list[float]] = {"scale": [], "purge": [], "route": []}

    def change() -> None:
        began = time.monotonic()
        for number in range(1, rounds + 1):
            for name, act in _acts(place, state, number).items():
                start = time.monotonic()
                act()
                times[name].append(time.monotonic() - start)
            time.sleep(max(0.0, began + number - time.monotonic()))
        took.append(time.monotonic() - began)

    took: list[float] = []
    thread = threading.Thread(target=change)
    thread.start()
    seen: Counter[int] = Counter()
    while thread.is_alive():
        seen.update(each.status for each in _load(place, 2.0).samples)
    thread.join()
    failed = sum(count for status, count in seen.items() if status != 200)
    medians = ", ".join(
        f"{name} {sorted(each)[len(each) // 2] * 1000:.0f} ms" for name, each in times.items()
    )
    return [
        _row(
            f"failed requests of {seen.total()} during {rounds} scalings, {rounds} purges and {rounds} route changes",
            failed, "requests", f"medians: {medians}", "none", failed == 0,
        ),
        _row(
            f"{rounds} changes of each kind, one after the other", took[0], "s", "", f"at most {rounds} s",
            took[0] <= rounds + 1,
        ),
    ]  # fmt: skip


def broken(place: Path) -> list[dict[str, Any]]:
    """Rows of what users notice when an instance, a zone and a place are killed."""
    state = State(place / "stack.py")
    rows = []
    for what, name, goal in (("process", "who.a", 0.0), ("zone", "a", 1.0)):
        request = {"do": "kill", "what": what, "name": name, "hold": what == "zone"}
        timer = threading.Timer(3.0, control.ask, (state.root, request))
        timer.start()
        seen = _load(place, 9.0)
        timer.join()
        control.ask(state.root, {"do": "heal", "what": what, "name": name})
        time.sleep(3)
        found = watch.noticed(seen, 3.0)
        before, since = found.phases["before"], found.phases["while"]
        about = f"slow {found.slow}, p99 {before.p99:.0f} ms before, {since.p99:.0f} ms since"
        requests = sum(phase.requests for phase in found.phases.values())
        rows.append(
            _row(f"failed requests of {requests}, {what} {name} killed", found.failed, "requests", about, "none",
                 found.failed == 0)
        )  # fmt: skip
        if goal:
            back = found.recovered
            rows.append(
                _row(f"full rate again after {what} {name} was killed", 99.0 if back is None else back, "s", "", "at most 1 s",
                     back is not None and back <= goal)
            )  # fmt: skip
    return [*rows, _place(place, state)]


def _place(place: Path, state: State) -> dict[str, Any]:
    """How long the name service goes on naming a place that is gone."""
    from tierline.trips.client import Client

    told = control.ask(state.root, {"do": "status"})
    client = Client(told, state.root / "authority" / "ca.pem", told["domain"], "us-east-1")
    dead = client.resolve().host
    control.ask(state.root, {"do": "kill", "what": "region", "name": "us-east-1"})
    began = time.monotonic()
    while client.resolve().host == dead and time.monotonic() - began < 10:
        time.sleep(0.02)
    took = time.monotonic() - began
    control.ask(state.root, {"do": "heal", "what": "region", "name": "us-east-1"})
    about = "checked every second, two failures in a row take it out"
    return _row("a dead place is out of the answers after", took, "s", about, "at most 3 s", took <= 3)


def _acts(place: Path, state: State, number: int) -> dict[str, Callable[[], object]]:
    instances = (2, 3, 2, 1)[number % 4]

    def route() -> None:
        (place / "stack.py").write_text(stack(number))
        _tierline(place, "reload")

    return {
        "scale": lambda: control.ask(
            state.root, {"do": "scale", "service": "who", "instances": instances}, timeout=30
        ),
        "purge": lambda: control.ask(
            state.root, {"do": "purge", "paths": ["/kept/1"], "prefixes": [], "tags": []}
        ),
        "route": route,
    }


def _load(place: Path, seconds: float) -> load.Load:
    told = json.loads(_tierline(place, "status", "--json"))
    host, _, port = told["urls"]["http"].partition("://")[2].rstrip("/").rpartition(":")
    target = {told["region"]: load.Target(host, int(port), told["domain"], None)}
    return load.open_loop(target, workload.requests(VISITS, told["region"], 1), RATE, seconds)


def _row(name: str, value: float, unit: str, about: str, goal: str, holds: bool) -> dict[str, Any]:
    row = {"name": name, "value": value, "unit": unit, "against": about, "ratio": None}
    return {**row, "goal": goal, "holds": holds}


def _tierline(place: Path, command: str, *words: str) -> str:
    argv = [sys.executable, "-m", "tierline", command, str(place), *words]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
