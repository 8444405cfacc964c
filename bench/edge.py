"""What a request costs that no cache may answer: CPU of balancer, cache and gateway together, with a token to
check, a rate limit and CORS, against a chain that a person would write by hand: nginx → Varnish → nginx.

All chains stand before the same kind of origin, get the same requests over TLS and HTTP/2, and take turns. The token is
signed with RS256, as most issuers sign; once more with ES256, whose check costs several times as much; and once with a
URL that nobody has asked for before, of which a cache can't know yet that it keeps nothing. What a hit costs stands
beside it: a line that is good at one of the two need not be at the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import psutil
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tierline.engines.nginx.engine import ENGINE as NGINX

ROUNDS = 5
REQUESTS = 4000
BIN = Path(sys.executable).parent

STACK = """\
from tierline import *
stack = Stack(
    "edge", zones=["a"], lb=LoadBalancer(), cache=HTTPCache(),
    gateway=Gateway(
        auth=JWT(issuer="issuer", audience="us", paths=["/account"], jwks="keys.json"), cors=["https://app.test"],
        limits=[RateLimit(1000000, by="client")],
    ),
    services=[Service("origin", command=["python", "origin.py"], expose=["/"])],
)
"""
ORIGIN = """\
import os, pathlib, sys
port = os.environ.get("PORT") or sys.argv[1]
folder = pathlib.Path(f"origin-{port}").resolve()
folder.mkdir(exist_ok=True)
(folder / "nginx.conf").write_text(f'''
daemon off; pid {folder}/pid; error_log stderr error; worker_processes 1; events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
server {{ listen 127.0.0.1:{port}; default_type application/json;
location / {{ add_header Cache-Control max-age=3600; return 200 '{"x" * 600}'; }}
location /account {{ add_header Cache-Control no-store; return 200 '{"x" * 600}'; }} }} }}''')
os.execv(%r, [%r, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")])
"""
FRONT = """\
daemon off; pid {f}/front.pid; error_log stderr error; worker_processes 1; events {{ worker_connections 1024; }}
http {{ {temp} log_format j escape=json '{{"s":$status,"u":"$request_uri","t":$request_time}}';
access_log {f}/front.log j buffer=32k flush=1s; keepalive_requests 1000000;
upstream next {{ server 127.0.0.1:{varnish}; keepalive 64; }}
server {{ listen 127.0.0.1:{port} ssl; http2 on; ssl_certificate {chain}; ssl_certificate_key {key};
ssl_protocols TLSv1.2 TLSv1.3;
location / {{ proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
proxy_set_header X-Forwarded-For $remote_addr; proxy_pass http://next; }} }} }}
"""
BACK = """\
daemon off; pid {f}/back.pid; error_log stderr error; worker_processes 1; events {{ worker_connections 1024; }}
http {{ {temp} log_format j escape=json '{{"s":$status,"u":"$request_uri","t":$request_time}}';
access_log {f}/back.log j buffer=32k flush=1s; keepalive_requests 1000000;
limit_req_zone $http_x_forwarded_for zone=c:1m rate=100000r/s;
map $http_origin $cors {{ default ""; "https://app.test" $http_origin; }}
upstream next {{ server 127.0.0.1:{origin}; keepalive 64; }}
server {{ listen 127.0.0.1:{port};
limit_req zone=c burst=10000 nodelay; add_header Access-Control-Allow-Origin $cors always;
proxy_http_version 1.1; proxy_set_header Connection "";
location / {{ proxy_pass http://next; }}
location /account {{ auth_jwt "us"; auth_jwt_key_file {f}/keys.json; auth_jwt_validate_exp on;
proxy_pass http://next; }} }} }}
"""


def run() -> list[dict[str, Any]]:
    if shutil.which("h2load") is None or shutil.which("varnishd") is None:
        return [_row("uncacheable request through the edge", 0, 0, "needs h2load and varnishd", False)]
    with tempfile.TemporaryDirectory(prefix="tierline-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        return _run(folder)


OURS: dict[str, list[str]] = {
    "embedded": [],
    "fast": ["--lineup", "fast"],
    "gateway=haproxy": ["--use", "gateway=haproxy"],
}
"""Lines of ours by how the table calls them: what `tierline up` is told."""

UNCACHEABLE = "uncacheable request with an RS256 token"
ONCE = "uncacheable request with an RS256 token, each of another URL"
ROWS: tuple[tuple[str, str, float | None], ...] = (
    (UNCACHEABLE, "embedded", 1.0),
    *((UNCACHEABLE, label, 0.5 if label == "embedded" else None) for label in OURS),
    ("uncacheable request with an ES256 token", "embedded", 0.5),
    (ONCE, "embedded", None),
    (ONCE, "fast", None),
    ("hit", "embedded", 1.0),
    ("hit", "fast", None),
)
"""Which request, which line, and at most which part of the hand-made chain."""


def _run(folder: Path) -> list[dict[str, Any]]:
    keys, requests = _requests()
    program = NGINX.binary().path
    chains: dict[str, tuple[str, Callable[[], dict[str, int]]]] = {}
    stacks = []
    hand: list[subprocess.Popen[bytes]] = []
    try:
        for number, (label, options) in enumerate(OURS.items()):
            stack = folder / f"stack{number}"
            stack.mkdir()
            (stack / "stack.py").write_text(STACK)
            (stack / "origin.py").write_text(ORIGIN.replace("%r", repr(program)))
            (stack / "keys.json").write_text(json.dumps(keys))
            stacks.append(stack)
            _tierline("up", str(stack), "--detach", *options)
            told = json.loads(_tierline("status", str(stack), "--json"))
            chains[label] = (told["urls"]["https"], lambda told=told: _edge(told))
        hand = _by_hand(folder, stacks[0], program, keys)
        names = ("nginx", "varnish", "nginx behind")
        chains["by hand"] = (
            f"https://127.0.0.1:{_PORT['front']}/",
            lambda: dict(zip(names, [each.pid for each in hand[1:]], strict=True)),
        )
        costs = _measure(chains, requests)
    finally:
        for process in hand:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
            process.wait()
        for stack in stacks:
            with contextlib.suppress(RuntimeError):
                _tierline("down", str(stack), "--volumes")
    middle = {
        key: {part: statistics.median(each[part] for each in rounds) for part in rounds[0]}
        for key, rounds in costs.items()
    }
    rows = []
    for kind, label, goal in ROWS:
        ours, theirs = middle[kind, label], middle[kind, "by hand"]
        value, base = sum(ours.values()), sum(theirs.values())
        rows.append(
            _row(
                f"CPU per {kind}, {label}", value, base,
                f"{_parts(ours)}; nginx → Varnish → nginx {base:.0f} µs: {_parts(theirs)}",
                None if goal is None else value <= base * goal, f"at most {goal}" if goal else "",
            )
        )  # fmt: skip
    return rows


def _measure(
    chains: dict[str, tuple[str, Callable[[], dict[str, int]]]], requests: dict[str, list[str]]
) -> dict[tuple[str, str], list[dict[str, float]]]:
    """µs of CPU per request by kind and chain, a round each: by process."""
    for url, _ in chains.values():
        for request in requests.values():
            _load(url, request, 400)
    costs: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for kind, request in requests.items():
            for label, (url, pids) in chains.items():
                if label != "by hand" and not any(row[:2] == (kind, label) for row in ROWS):
                    continue
                before = {part: _cpu(pid) for part, pid in pids().items()}
                _load(url, request, REQUESTS)
                spent = {part: (_cpu(pid) - before[part]) / REQUESTS * 1e6 for part, pid in pids().items()}
                costs.setdefault((kind, label), []).append(spent)
    return costs


def _requests() -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The issuer's keys as a set; by kind of request its path and headers."""
    claims = {"iss": "issuer", "aud": "us", "sub": "u", "exp": int(time.time()) + 3600}
    keys, requests = [], {}
    private: dict[str, Any] = {
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
    }
    for kind, key in private.items():
        public = json.loads(jwt.get_algorithm_by_name(kind).to_jwk(key.public_key()))
        keys.append({**public, "kid": kind, "alg": kind, "use": "sig"})
        token = jwt.encode(claims, key, kind, headers={"kid": kind})
        requests[f"uncacheable request with an {kind} token"] = [
            "account",
            f"authorization: Bearer {token}",
            "origin: https://app.test",
        ]
    requests[ONCE] = ["account/*", *requests[UNCACHEABLE][1:]]
    requests["hit"] = ["film"]
    return {"keys": keys}, requests


def _parts(costs: dict[str, float]) -> str:
    return ", ".join(f"{part} {cost:.0f}" for part, cost in costs.items())


_PORT: dict[str, int] = {}


def _by_hand(folder: Path, stack: Path, program: str, keys: Any) -> list[subprocess.Popen[bytes]]:
    """The origin first, then the chain, each as its manual says."""
    for name in ("front", "varnish", "back", "origin"):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            _PORT[name] = sock.getsockname()[1]
    (chain,) = [path for path in (stack / ".tierline/authority").glob("*.pem") if path.name != "ca.pem"][:1]
    (folder / "keys.json").write_text(json.dumps(keys))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temp = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    common = {"f": folder, "temp": temp, "chain": chain, "key": chain.with_suffix(".key")}
    (folder / "front.conf").write_text(FRONT.format(port=_PORT["front"], varnish=_PORT["varnish"], **common))
    (folder / "back.conf").write_text(BACK.format(port=_PORT["back"], origin=_PORT["origin"], **common))
    (folder / "v.vcl").write_text(
        f'vcl 4.1; backend default {{ .host = "127.0.0.1"; .port = "{_PORT["back"]}"; }}\n'
    )
    varnish = ["varnishd", "-F", "-n", f"{folder}/v", "-a", f"127.0.0.1:{_PORT['varnish']}", "-f", f"{folder}/v.vcl",
               "-s", "malloc,64m"]  # fmt: skip
    commands = [
        [sys.executable, str(stack / "origin.py"), str(_PORT["origin"])],
        [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "front.conf")],
        varnish,
        [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "back.conf")],
    ]
    log = (folder / "by-hand.log").open("wb")
    # Each in a session of its own, as ours are: Linux shares a busy machine out by sessions (autogroups), and who waits
    # longer finds more to do at once, which costs less for each.
    started = [
        subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        for command in commands
    ]
    until = time.monotonic() + 15
    for port in _PORT.values():
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > until:
                raise RuntimeError((folder / "by-hand.log").read_text(errors="replace"))
            time.sleep(0.05)
    return started


def _edge(told: dict[str, Any]) -> dict[str, int]:
    """Processes of the edge by the tiers that they play."""
    tiers = ("lb", "cache", "gateway")
    found = {}
    for process in told["processes"]:
        played = [role.partition(".")[0] for role in process["roles"]]
        if any(tier in tiers for tier in played):
            found[" + ".join(played)] = process["pid"]
    return found


def _cpu(pid: int) -> float:
    """Seconds of CPU of a process and its children, by their CPU clocks: ticks are too coarse for one round."""
    parent = psutil.Process(pid)
    # Which clock a process id has: clock_getcpuclockid(3), CPUCLOCK_SCHED.
    return sum(time.clock_gettime(~each.pid << 3 | 2) for each in [parent, *parent.children(recursive=True)])


def _load(url: str, request: list[str], requests: int) -> None:
    path, *headers = request
    options = [word for header in headers for word in ("-H", header)]
    with tempfile.NamedTemporaryFile("w", prefix="tierline-bench-") as file:
        target = [url + path]
        if "*" in path:
            own = time.monotonic_ns()
            file.write("".join(f"{url}{path.replace('*', f'{own}-{n}')}\n" for n in range(requests)))
            file.flush()
            target = ["-i", file.name]
        done = subprocess.run(
            ["h2load", "-n", str(requests), "-c", "8", "-m", "4", *options, *target],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    if f"{requests} 2xx" not in done.stdout:
        raise RuntimeError(f"{url}: not every request succeeded\n{done.stdout}")


def _row(
    name: str, value: float, base: float, against: str, holds: bool | None, goal: str = ""
) -> dict[str, Any]:
    ratio = round(value / base, 2) if base else None
    return {
        "name": name, "value": round(value, 1), "unit": "µs", "against": against, "ratio": ratio, "goal": goal,
        "holds": holds,
    }  # fmt: skip


def _tierline(*args: str) -> str:
    done = subprocess.run(
        [str(BIN / "tierline"), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"tierline {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    for row in run():
        print(row)
