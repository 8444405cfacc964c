"""The experience layer against its limit and its peers: one document of three parts, the same for all.

Servers run on Granian with one worker on core 0; wrk, and the services of the split rows, on core 1. Whatever is
compared runs in turns, several rounds; a ratio is the median of the rounds' own ratios.

A rate is requests per second of the server's own CPU time (all its processes): what it answers on a core that it
has to itself. On an idle machine that is the rate by the clock; on a shared one the clock measures the others too.

    JOURNEYS_SECONDS=2 JOURNEYS_ROUNDS=3   how long and how often
    JOURNEYS_MINUTES=10                    the memory row over ten minutes instead of seconds
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("JOURNEYS_SECONDS", "1.5"))
ROUNDS = int(os.environ.get("JOURNEYS_ROUNDS", "5"))
MINUTES = float(os.environ.get("JOURNEYS_MINUTES", "0"))
CONNECTIONS = 32
FILM = "/film/41975"

Row = dict[str, Any]
Sample = dict[str, float]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def pinned(core: int) -> list[str]:
    """Both kinds of processes on cores of their own, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)])] if shutil.which("taskset") else []


@contextlib.contextmanager
def server(module: str, *, core: int = 0, uds: str = "", **environment: str) -> Iterator[tuple[str, int]]:
    """An application of journeys_peers on Granian: its address and its process id."""
    port = free_port()
    where = ["--uds", uds] if uds else ["--host", "127.0.0.1", "--port", str(port)]
    argv = [sys.executable, "-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--no-ws"]
    argv += ["--workers", "1", "--runtime-threads", "1", "--log-level", "error", *where]
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment}
    process = subprocess.Popen([*pinned(core), *argv, f"journeys_peers.{module}:app"], env=env)
    try:
        for _ in range(400):
            with (
                contextlib.suppress(OSError),
                socket.socket(socket.AF_UNIX if uds else socket.AF_INET) as probe,
            ):
                probe.connect(uds or ("127.0.0.1", port))
                break
            if process.poll() is not None:
                raise RuntimeError(f"{module} did not start")
            time.sleep(0.05)
        yield (f"unix:{uds}" if uds else f"127.0.0.1:{port}"), process.pid
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process and its children have used."""
    import psutil

    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def wrk(
    where: tuple[str, int],
    path: str = FILM,
    *,
    seconds: float = SECONDS,
    connections: int = CONNECTIONS,
    script: str = "",
) -> Sample:
    """One round: requests per second of CPU and by the clock, median and 99th percentile in milliseconds."""
    address, pid = where
    argv = [*pinned(1), "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    argv += ["-s", script] if script else []
    before = cpu(pid)
    done = subprocess.run([*argv, f"http://{address}{path}"], capture_output=True, text=True, check=True)
    used = cpu(pid) - before
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"not all requests were answered:\n{done.stdout}")
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}

    def percentile(name: str) -> float:
        found = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", done.stdout)
        return float(found[1]) * units[found[2]] if found else 0.0

    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    count = re.search(r"(\d+) requests in", done.stdout)
    assert rate and count
    return {
        "clock": float(rate[1]),
        "rate": int(count[1]) / max(used, 0.01),
        "p50": percentile("50"),
        "p99": percentile("99"),
    }


def row(name: str, values: list[float], unit: str, against: str, ratios: list[float], goal: str) -> Row:
    """One line of the table; `goal` is such as "≥ 0.6", or "" for a figure without one."""
    ratio = statistics.median(ratios)
    holds = True
    if goal:
        sign, _, bound = goal.partition(" ")
        holds = ratio >= float(bound) if sign == "≥" else ratio <= float(bound)
    return {
        "name": name,
        "value": round(statistics.median(values), 3),
        "unit": unit,
        "against": against,
        "ratio": round(ratio, 3),
        "goal": goal,
        "holds": holds,
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def over(samples: dict[str, list[Sample]], one: str, other: str, key: str = "rate") -> list[float]:
    """Round by round, one against the other."""
    return [a[key] / b[key] for a, b in zip(samples[one], samples[other], strict=True)]


def rates(samples: dict[str, list[Sample]], one: str, key: str = "rate") -> list[float]:
    return [sample[key] for sample in samples[one]]


def peers() -> tuple[list[Row], dict[str, list[Sample]]]:
    """In one process: the limit, the journey, and the frameworks."""
    from journeys_peers.strawberry_graphql import QUERY

    paths = {"strawberry_graphql": "/?query=" + urllib.parse.quote(QUERY)}
    names = [
        "bare",
        "fused",
        "calls",
        "calls_by_hand",
        "calls_httpx",
        "gather",
        "starlette_gather",
        "fastapi_plain",
        "fastapi_models",
        "strawberry_graphql",
    ]
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        where = {name: stack.enter_context(server(name, FUSED="1")) for name in names}
        for name in names:
            wrk(where[name], paths.get(name, FILM), seconds=1)
        for _ in range(ROUNDS):
            for name in names:
                samples[name].append(wrk(where[name], paths.get(name, FILM)))
    fused, calls = rates(samples, "fused"), rates(samples, "calls")
    return [
        row("bare ASGI, the limit", rates(samples, "bare"), "req/s", "", [1.0], ""),
        row("three parts fused as functions", fused, "req/s", "bare ASGI", over(samples, "fused", "bare"), "≥ 0.6"),
        row("three whole ASGI applications fused", calls, "req/s", "bare ASGI",
            over(samples, "calls", "bare"), "≥ 0.38"),
        row("three whole ASGI applications fused", calls, "req/s", "called by 20 lines of one's own",
            over(samples, "calls", "calls_by_hand"), "≥ 0.8"),
        row("three whole ASGI applications fused", calls, "req/s", "httpx's ASGITransport",
            over(samples, "calls", "calls_httpx"), "≥ 8"),
        row("against bare ASGI with asyncio.gather", fused, "req/s", "asyncio.gather",
            over(samples, "fused", "gather"), "≥ 1.05"),
        row("against Starlette with asyncio.gather", fused, "req/s", "Starlette",
            over(samples, "fused", "starlette_gather"), "≥ 1"),
        row("against FastAPI with asyncio.gather", fused, "req/s", "FastAPI, a dict",
            over(samples, "fused", "fastapi_plain"), "≥ 5"),
        row("against FastAPI with response models", fused, "req/s", "FastAPI, pydantic",
            over(samples, "fused", "fastapi_models"), ""),
        row("against Strawberry GraphQL", fused, "req/s", "Strawberry",
            over(samples, "fused", "strawberry_graphql"), "≥ 30"),
    ], samples  # fmt: skip


def split() -> list[Row]:
    """The services in a process of their own."""
    samples: dict[str, list[Sample]] = {name: [] for name in ("fused", "tcp", "uds", "aiohttp")}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        tcp = stack.enter_context(server("services", core=1))[0]
        uds = stack.enter_context(server("services", core=1, uds=f"{folder}/services"))[0]
        where = {
            "fused": stack.enter_context(server("calls", FUSED="1")),
            "tcp": stack.enter_context(server("calls", SERVICES=tcp)),
            "uds": stack.enter_context(server("calls", SERVICES=uds)),
            "aiohttp": stack.enter_context(server("aiohttp_calls", SERVICES=tcp)),
        }
        for each in where.values():
            wrk(each, seconds=1)
        for _ in range(ROUNDS):
            for name, each in where.items():
                samples[name].append(wrk(each))
    return [
        row("split over HTTP, TCP", rates(samples, "tcp"), "req/s", "aiohttp's client",
            over(samples, "tcp", "aiohttp"), "≥ 1.3"),
        row("split over HTTP, Unix socket", rates(samples, "uds"), "req/s", "aiohttp's client, TCP",
            over(samples, "uds", "aiohttp"), "≥ 1.3"),
        row("fused against split: throughput", rates(samples, "fused"), "req/s", "split, TCP",
            over(samples, "fused", "tcp"), ""),
        row("fused against split: median latency", rates(samples, "fused", "p50"), "ms", "split, TCP",
            over(samples, "fused", "tcp", "p50"), ""),
    ]  # fmt: skip


def levels() -> list[Row]:
    import uvloop
    from journeys_peers.levels import TOOK, critical, measure

    found = uvloop.run(measure(max(5, ROUNDS * 4)))
    assert len(TOOK) == 10
    return [row("ten parts in four levels", [critical() * 1000], "ms", "critical path", found, "≤ 1.05")]


class Paced:
    """A server under a share of what it can do, its requests spread at random over 128 connections."""

    def __init__(self, where: tuple[str, int], folder: str, share: float = 0.8) -> None:
        self.where = where
        self.script = Path(folder) / f"{where[1]}.lua"
        self.goal = share * statistics.median([wrk(where)["clock"] for _ in range(3)])
        self.pause = 128 / self.goal * 1000
        self.round()  # all connections open at once: a round that says nothing

    def round(self) -> Sample:
        # As from many people and not in step; wrk counts only what comes after the pause.
        self.script.write_text(
            f"function delay() return math.floor({2 * self.pause} * math.random() + 0.5) end\n"
        )
        sample = wrk(self.where, connections=128, script=str(self.script))
        self.pause *= sample["clock"] / self.goal
        return {**sample, "share": 0.8 * sample["clock"] / self.goal, "tail": sample["p99"] / sample["p50"]}


def steady() -> list[Row]:
    """p99 under 80 % of what it can do, bare ASGI beside it as control; and memory under full load."""
    import psutil

    samples: dict[str, list[Sample]] = {"fused": [], "bare": []}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        paced = {name: Paced(stack.enter_context(server(name)), folder) for name in samples}
        for _ in range(ROUNDS):
            for name, each in paced.items():
                samples[name].append(each.round())
        rows = [
            row(f"p99 at {statistics.median(rates(samples, name, 'share')):.0%} load{about}",
                rates(samples, name, "p99"), "ms", "its median", rates(samples, name, "tail"), goal)
            for name, about, goal in (("fused", "", "≤ 5"), ("bare", ", bare ASGI", ""))
        ]  # fmt: skip
        where = paced["fused"].where
        worker = max(
            psutil.Process(where[1]).children(recursive=True), key=lambda child: child.memory_info().rss
        )
        length = MINUTES * 60 or max(6.0, SECONDS * 4)
        wrk(where, seconds=length / 4)
        before = worker.memory_info().rss
        wrk(where, seconds=length)
        after = worker.memory_info().rss
    about = f"memory after {length:.0f} s of full load"
    return [*rows, row(about, [after / 1e6], "MB", "a quarter in", [after / before], "≤ 1.02")]


def run() -> list[Row]:
    """All rows."""
    missing = [name for name in ("wrk", "taskset") if not shutil.which(name)]
    if missing:
        raise RuntimeError(f"needs {', '.join(missing)}: apt-get install wrk util-linux")
    sys.path.insert(0, str(HERE))
    rows, _ = peers()
    return [*rows, *split(), *levels(), *steady()]


if __name__ == "__main__":
    for line in run():
        low, high = line["spread"]
        mark = "" if not line["goal"] else ("holds" if line["holds"] else "FAILS")
        print(
            f"{line['name']:<42} {line['value']:>10} {line['unit']:<6} {line['ratio']:>7} of {line['against']:<24} "
            f"({low}–{high}) {line['goal']:<8} {mark}"
        )
