"""Something is done to a running line under a steady load, and undone: the timeline, and all that is asked meanwhile.

a third: as it is · a third: it is away · a third: it is healed
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from typing import Any

from tierline.compare import load, saviours, watch, workload
from tierline.errors import RunError
from tierline.run import control
from tierline.run.state import State
from tierline.stack import load as load_stack
from tierline.trips.ask import Telemetry
from tierline.trips.client import Client

_SETTLE = 1.2
"""Counts land once a second."""


def watching(state: State, request: dict[str, Any], done: str, rate: float, seconds: float) -> str:
    """What users noticed of `request` (a kill, a hang, a delay), for a terminal. It is healed whatever happens.

    Raises RunError when the line refuses it; nothing was broken then.
    """
    control.ask(state.root, {**request, "do": "which"})
    told = control.ask(state.root, {"do": "status"})
    stack, _ = load_stack(state.stack)
    visits = workload.of_stack(stack)
    regions = {visit.region or told["region"] for visit in visits}
    clients = {
        region: Client(told, state.root / "authority" / "ca.pem", told["domain"], region)
        for region in regions
    }
    moves: list[tuple[float, str, str]] = []
    """When a region's clients were sent elsewhere, and where."""

    def resolve(region: str) -> load.Target:
        where, trust = clients[region].resolve(), clients[region].trust()
        context = trust if isinstance(trust, ssl.SSLContext) else None
        moves.append((time.monotonic(), region, where.host))
        return load.Target(where.host, where.port, told["domain"], context)

    targets = {region: resolve(region) for region in regions}
    # Other requests than last time: those are in the caches now.
    asked = workload.requests(visits, told["region"], time.time_ns())
    load.open_loop(targets, asked, rate, 1.0)  # warm
    time.sleep(_SETTLE)
    first, timeline = _counts(told), _Timeline(state, told, request, seconds)
    timeline.start()
    try:
        seen = load.open_loop(targets, asked, rate, seconds, resolve)
    finally:
        timeline.end()
    if timeline.refused:
        raise timeline.refused
    found = watch.noticed(seen, timeline.began, timeline.healed)
    saved = _events(state, timeline) + _moved(moves, told, timeline)
    if None in (first, timeline.begun, timeline.ended):
        saved.append("what the tiers counted isn't known: telemetry was away")
    else:
        counts = saviours.Counts(first, timeline.begun, timeline.ended, timeline.began, found.away)  # type: ignore[arg-type]
        saved += saviours.told(counts)
    names = ", ".join(timeline.names)
    what = "" if request["what"] == "process" else f"{request['what']} "
    event = f"{what}{request['name']} {done}: {names}; healed after {found.away:.1f} s"
    lines = [watch.text(found, event, saved), *(f"  {note}" for note in timeline.notes)]
    if seen.limited:
        lines.append("  the load generator was itself the limit: ask for less with --rate")
    return "\n".join(lines)


class _Timeline(threading.Thread):
    """Beside the load: does it after a third of the time, heals it after two."""

    def __init__(self, state: State, told: dict[str, Any], request: dict[str, Any], seconds: float) -> None:
        super().__init__(daemon=True)
        self._root, self._told, self._request, self._seconds = state.root, told, request, seconds
        self._over = threading.Event()
        self._done = False
        self.zero = 0.0
        self.began, self.healed = seconds / 3, seconds * 2 / 3
        """Seconds from the load's beginning: as planned, then as it was."""
        self.names: list[str] = []
        self.notes: list[str] = []
        self.refused: RunError | None = None
        self.begun: list[dict[str, Any]] | None = None
        self.ended: list[dict[str, Any]] | None = None

    def start(self) -> None:
        self.zero = time.monotonic()
        super().start()

    def run(self) -> None:
        if self._over.wait(self.began):
            return
        self.begun = _counts(self._told)
        self.began = time.monotonic() - self.zero
        try:
            said = control.ask(self._root, self._request)
        except RunError as error:
            self.refused = error
            return
        self._done = True
        self.names, self.notes = said["names"], said.get("notes", [])
        self._over.wait(max(0.0, self.zero + self.healed - time.monotonic()))
        # Before the healing, and as late as those of the beginning: what is healed gets requests again at once.
        self.ended = _counts(self._told)
        self._heal()

    def _heal(self) -> None:
        if self._done:
            self._done = False
            self.healed = time.monotonic() - self.zero
            control.ask(self._root, {**self._request, "do": "heal"})

    def end(self) -> None:
        """The load is over, or was interrupted."""
        self._over.set()
        self.join()
        self._heal()


def _counts(told: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Requests so far by tier; None when telemetry doesn't answer."""
    with contextlib.suppress(RunError):
        telemetry = Telemetry(told)
        try:
            found: list[dict[str, Any]] = telemetry.get("/counts")
        finally:
            telemetry.close()
        return found
    return None


def _events(state: State, timeline: _Timeline) -> list[str]:
    """What the supervisor did about it."""
    began = time.time() - (time.monotonic() - timeline.zero) + timeline.began
    with contextlib.suppress(RunError):
        events = control.ask(state.root, {"do": "status"})["events"]
        return [f"{each['what']} {each['name']}: {each['text']}" for each in events if each["at"] >= began]
    return []


def _moved(moves: list[tuple[float, str, str]], told: dict[str, Any], timeline: _Timeline) -> list[str]:
    places = {address.rpartition(":")[0]: name.partition("/")[0] for name, address in told["addresses"].items()
              if name.partition("/")[2] in ("https", "http") and not address.startswith("127.0.0.1:")}  # fmt: skip
    lines: dict[str, str] = {}
    first: dict[str, str] = {}
    for at, region, host in moves:
        after = at - timeline.zero - timeline.began
        if host != first.setdefault(region, host):
            lines.setdefault(
                region, f"dns sent clients of {region} to {places.get(host, host)} after {after:.1f} s"
            )
    return list(lines.values())
