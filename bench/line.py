"""The cinema's whole line: how fast it is up and down, what it takes, and whether it serves steadily."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

CINEMA = Path(__file__).parents[1] / "examples" / "cinema"
PAGE = "/film/41975"
SECONDS = 30.0
RATE = 150.0


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="tierline-bench-") as folder:
        stack = Path(folder) / "cinema"
        shutil.copytree(CINEMA, stack, ignore=shutil.ignore_patterns(".tierline", "__pycache__"))
        try:
            return _run(stack)
        finally:
            _tierline(stack, "down", "--volumes")


def _run(stack: Path) -> list[dict[str, Any]]:
    cold, cold_where = _up(stack)
    hasty = [_down(stack)]
    downs, warms = [], []
    where = ""
    for number in range(6):
        seconds, where = _up(stack)
        warms.append(seconds)
        if number % 2:
            hasty.append(_down(stack))
        else:
            time.sleep(1)
            downs.append(_down(stack))
    _up(stack)
    time.sleep(5)
    memory = _memory(stack)
    failed, times = _steady(stack)
    warm, down, soon = (statistics.median(each) for each in (warms, downs, hasty))
    return [
        _row("up to the first 200, data loaded before", warm, "s", "at most 6 s", warm <= 6, f"{_spread(warms)}; {where}"),
        _row("up to the first 200, empty state folder", cold, "s", "at most 15 s", cold <= 15, cold_where),
        _row("down, a second after up or later", down, "s", "at most 1.5 s", down <= 1.5, _spread(downs)),
        _row("down at the very moment that the line is up", soon, "s", "at most 1.5 s", soon <= 1.5,
             f"{_spread(hasty)}; places of the CDN that have just started wait their second out"),
        _row("idle memory of the whole line (PSS)", memory, "MB", "at most 900 MB", memory <= 900, ""),
        _row(
            f"failed requests of {len(times)} in {SECONDS:.0f} s through all tiers", failed, "requests", "none", failed == 0,
            f"p50 {times[len(times) // 2] * 1000:.1f} ms, p99 {times[int(len(times) * 0.99)] * 1000:.1f} ms",
        ),
    ]  # fmt: skip


def _row(name: str, value: float, unit: str, goal: str, holds: bool, about: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "against": about,
        "ratio": None,
        "goal": goal,
        "holds": holds,
    }


def _spread(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f} s in {len(values)} rounds"


def _up(stack: Path) -> tuple[float, str]:
    """Seconds to the first 200 through all tiers, and the slowest processes."""
    began = time.monotonic()
    _tierline(stack, "up", "--detach")
    told = _status(stack)
    while _ask(stack, told) != 200:
        time.sleep(0.02)
    seconds = time.monotonic() - began
    slow = sorted(told["processes"], key=lambda process: -process["ready_in"])[:3]
    return seconds, ", ".join(f"{process['name']} {process['ready_in']:.1f} s" for process in slow)


def _down(stack: Path) -> float:
    began = time.monotonic()
    _tierline(stack, "down")
    return time.monotonic() - began


def _status(stack: Path) -> dict[str, Any]:
    return json.loads(_tierline(stack, "status", "--json"))


def _ask(stack: Path, told: dict[str, Any]) -> int:
    from tierline.trips.client import Client

    client = Client(told, stack / ".tierline/authority/ca.pem", told["domain"], told["region"])
    return client.ask(f"{PAGE}?fresh={time.monotonic_ns()}", {"x-client": "web"}, sampled=False).status


def _memory(stack: Path) -> float:
    """Proportional set size of the supervisor and everything below it, MB."""
    top = psutil.Process(_status(stack)["pid"])
    return sum(process.memory_full_info().pss for process in (top, *top.children(recursive=True))) / 1e6


def _steady(stack: Path) -> tuple[int, list[float]]:
    from tierline.trips.client import Client
    from tierline.trips.steady import steady

    told = _status(stack)
    client = Client(told, stack / ".tierline/authority/ca.pem", told["domain"], told["region"])
    paths = [PAGE, "/home", "/search?q=alien", "/films/41975", "/", "/leaderboard"]
    paths += [f"/film/{number}" for number in range(1000, 1030)]
    results = steady(client, paths, rate=RATE, seconds=SECONDS)
    failed = sum(result.status == 0 or result.status >= 400 for result in results)
    return failed, sorted(result.seconds for result in results)


def _tierline(stack: Path, *words: str) -> str:
    command = [sys.executable, "-m", "tierline", words[0], str(stack), *words[1:]]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
