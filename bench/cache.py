"""A CDN hit against the bare engine: requests over TLS and HTTP/2 for one file, asked of both in turn by h2load.

Ours is a whole line's place (trace, cache key, Age, purge versions, hop log); the bare one is the same nginx program
with a dozen lines that keep the same file in its proxy_cache, or, as a second row, serve it from the disk.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tierline.engines.nginx.config import TLS
from tierline.engines.nginx.engine import ENGINE

ROUNDS = 5
REQUESTS = 12_000
SIZE = 16 << 10
GOAL = 0.9

_STACK = """\
from tierline import CDN, Service, Stack

app = Service("app", "app:app", expose=["/api"])
stack = Stack("bench", cdn=CDN(assets="web"), services=[app], zones=("a",))
"""
_APP = """\
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""


def run() -> list[dict[str, Any]]:
    """The rows of the bench; one that says why when h2load is not here."""
    h2load = shutil.which("h2load")
    if h2load is None:
        return [_row("cdn hit", None, "requests/s", "skipped: h2load is not installed", None, GOAL, None)]
    with tempfile.TemporaryDirectory(prefix="tierline-cache-") as name:
        folder = Path(name)
        (folder / "web").mkdir()
        (folder / "web" / "film.jpg").write_bytes(bytes(range(256)) * (SIZE // 256))
        (folder / "stack.py").write_text(_STACK)
        (folder / "app.py").write_text(_APP)
        tierline = [sys.executable, "-m", "tierline"]
        subprocess.run([*tierline, "up", str(folder), "--detach"], check=True, stdout=subprocess.DEVNULL)
        bare = None
        try:
            told = json.loads((folder / ".tierline" / "state.json").read_text())
            place = next(each for each in told["processes"] if each["name"].startswith("cdn"))
            address = json.loads((folder / ".tierline" / "ports.json").read_text())[f"{place['name']}/https"]
            bare, cached, plain = _bare(folder, place["name"])
            asked = {
                "ours": (f"https://{address}/film.jpg", place["pid"]),
                "nginx": (f"https://127.0.0.1:{cached}/film.jpg", bare.pid),
                "nginx from disk": (f"https://127.0.0.1:{plain}/film.jpg", bare.pid),
            }
            rates, costs = _measure(h2load, asked)
        finally:
            if bare is not None:
                bare.terminate()
                bare.wait(10)
            subprocess.run(
                [*tierline, "down", str(folder), "--volumes"], check=False, stdout=subprocess.DEVNULL
            )
    return [
        _compared("cdn hit", "requests/s", "nginx", rates),
        _compared("cdn hit per core", "requests/CPU s", "nginx", costs),
        _compared("cdn hit per core, against the disk", "requests/CPU s", "nginx from disk", costs),
    ]


def _measure(
    h2load: str, asked: dict[str, tuple[str, int]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    rates: dict[str, list[float]] = {name: [] for name in asked}
    costs: dict[str, list[float]] = {name: [] for name in asked}
    for turn in range(ROUNDS + 1):
        for name, (url, pid) in asked.items():
            before = _busy(pid)
            rate = _ask(h2load, url)
            busy = _busy(pid) - before
            if turn:  # the first one warms up
                rates[name].append(rate)
                costs[name].append(REQUESTS / busy)
    return rates, costs


def _ask(h2load: str, url: str) -> float:
    """Requests per second. Raises RuntimeError when one of them failed."""
    ran = subprocess.run(
        [h2load, "-n", str(REQUESTS), "-c", "8", "-m", "4", "-t", "1", url],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    if f"{REQUESTS} 2xx" not in ran:
        raise RuntimeError(f"h2load of {url} failed:\n{ran}")
    found = re.search(r"finished in .*?, ([\d.]+) req/s", ran)
    assert found is not None
    return float(found[1])


def _busy(pid: int) -> float:
    """CPU seconds of a process and its children."""
    root = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in [root, *root.children(recursive=True)])


def _bare(folder: Path, place: str) -> tuple[subprocess.Popen[bytes], int, int]:
    """The same program by hand, with the place's certificate."""
    own = folder / "bare"
    (own / "temp").mkdir(parents=True)
    config = (folder / ".tierline" / "run" / place / "nginx.conf").read_text()
    found = re.search(r"ssl_certificate .*\n\s*ssl_certificate_key .*", config)
    assert found is not None
    files, cached, plain = _port(), _port(), _port()
    temps = "".join(
        f"{kind}_temp_path {own}/temp/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = f"""\
daemon off; pid {own}/pid; worker_processes 1; error_log stderr;
events {{ worker_connections 1024; }}
http {{
types {{ image/jpeg jpg; }}
client_body_temp_path {own}/temp/body; {temps}
access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000; http2 on;
proxy_cache_path {own}/copies levels=1:2 keys_zone=copies:8m;
{TLS}{found.group()}
server {{ listen 127.0.0.1:{files}; root {folder}/web; add_header Cache-Control max-age=3600; }}
server {{ listen 127.0.0.1:{plain} ssl; root {folder}/web; }}
server {{ listen 127.0.0.1:{cached} ssl;
    location / {{ proxy_pass http://127.0.0.1:{files}; proxy_cache copies; proxy_cache_key $uri; }} }}
}}
"""
    (own / "nginx.conf").write_text("user root;\n" + text if psutil.Process().uids().effective == 0 else text)
    process = subprocess.Popen(
        [ENGINE.binary().path, "-p", str(own), "-e", "stderr", "-c", str(own / "nginx.conf")]
    )
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", plain)) == 0:
                return process, cached, plain
        time.sleep(0.02)
    raise RuntimeError("the bare nginx doesn't start")


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _compared(name: str, unit: str, against: str, rates: dict[str, list[float]]) -> dict[str, Any]:
    ours, theirs = (statistics.median(rates[each]) for each in ("ours", against))
    spread = ", ".join(
        f"{each} {min(rates[each]):.0f} to {max(rates[each]):.0f}" for each in ("ours", against)
    )
    ratio = ours / theirs
    goal = GOAL if against == "nginx" else None
    return _row(
        name,
        round(ours),
        unit,
        f"{against}: {theirs:.0f} ({spread})",
        ratio,
        goal,
        ratio >= goal if goal else None,
    )


def _row(
    name: str, value: float | None, unit: str, against: str, ratio: float | None, goal: float | None, holds: bool | None
) -> dict[str, Any]:  # fmt: skip
    return {
        "name": name, "value": value, "unit": unit, "against": against,
        "ratio": None if ratio is None else round(ratio, 2), "goal": goal, "holds": holds,
    }  # fmt: skip


if __name__ == "__main__":
    for row in run():
        print(row)
