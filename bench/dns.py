"""Answers per second of tierline's own DNS server against BIND 9, one core each, asked in turn by dnsperf.

Both serve the same zone to the same queries: names in mixed case, each query with a client subnet (EDNS, RFC
7871) of its own. Ours looks at the subnet and answers by latency inside geography. BIND 9.18 has no client
subnets; it chooses among views by the resolver's address, its own way to answer by geography.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import dns.edns
import dns.exception
import dns.message
import dns.query

from tierline.tiers.dns.common.places import REGIONS, client, table

ROUNDS = 5
SECONDS = 1.0
GOAL = 0.9
_QUESTIONS = (
    ("cinema.test", "A"),
    ("cinema.test", "A"),
    ("cinema.test", "HTTPS"),
    ("cinema.test", "AAAA"),
    ("www.cinema.test", "A"),
    ("static.cinema.test", "A"),
    ("cinema.test", "MX"),
    ("nothing.cinema.test", "A"),
)
_PLACES = {"eu-west-1": "127.0.1.1", "us-east-1": "127.0.1.2", "ap-southeast-2": "127.0.1.3"}


def run() -> list[dict[str, Any]]:
    """The rows of the bench; one that says why when BIND 9 or dnsperf is not here."""
    named = shutil.which("named", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    dnsperf = shutil.which("dnsperf")
    if named is None or dnsperf is None:
        missing = "bind9" if named is None else "dnsperf"
        return [
            _row("dns answers", None, "answers/s", f"skipped: {missing} is not installed", None, GOAL, None)
        ]
    found = subprocess.run([named, "-v"], capture_output=True, text=True, check=True).stdout
    version = found.split("-")[0].split("(")[0].strip()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="tierline-dns-") as name:
        folder = Path(name)
        queries = folder / "queries"
        queries.write_bytes(_queries())
        servers = {"ours": _ours(folder, cores[0]), "bind": _bind(folder, cores[0], named)}
        try:
            start = _answers_after(*servers["ours"])
            _answers_after(*servers["bind"])
            walls: dict[str, list[float]] = {name: [] for name in servers}
            cores_used: dict[str, list[float]] = {name: [] for name in servers}
            for turn in range(ROUNDS + 1):
                for name, (process, port, _) in servers.items():
                    before = _busy(process.pid)
                    answers, rate = _ask(dnsperf, port, queries, cores[-1])
                    busy = _busy(process.pid) - before
                    if turn:  # the first one warms up
                        walls[name].append(rate)
                        cores_used[name].append(answers / busy)
            memory = _memory(servers["ours"][0].pid)
        finally:
            for process, _, _ in servers.values():
                process.send_signal(signal.SIGTERM)
                process.wait(10)
    return [
        _compared("dns answers", "answers/s", version, walls),
        _compared("dns answers per core", "answers/CPU s", version, cores_used),
        _row("dns start", round(start * 1000), "ms", "150 ms", start / 0.15, 1.0, start <= 0.15),
        _row("dns memory", round(memory, 1), "MB", "25 MB", memory / 25, 1.0, memory <= 25),
    ]


def _compared(name: str, unit: str, version: str, rates: dict[str, list[float]]) -> dict[str, Any]:
    """A row of medians. Per second of the server's own CPU time, others on the machine matter less."""
    ours, bind = (statistics.median(rates[server]) for server in ("ours", "bind"))
    spread = ", ".join(f"{server} {min(r):.0f} to {max(r):.0f}" for server, r in rates.items())
    ratio = ours / bind
    return _row(name, round(ours), unit, f"{version}: {bind:.0f} ({spread})", ratio, GOAL, ratio >= GOAL)


def _row(
    name: str,
    value: float | None,
    unit: str,
    against: str,
    ratio: float | None,
    goal: float,
    holds: bool | None,
) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "against": against,
        "ratio": None if ratio is None else round(ratio, 2),
        "goal": goal,
        "holds": holds,
    }


def _queries() -> bytes:
    """Questions from clients everywhere, as dnsperf reads messages: with their lengths before them."""
    random = Random(9)
    nets = [client(region) for region in REGIONS]
    stream = b""
    for number in range(6000):
        name, kind = _QUESTIONS[number % len(_QUESTIONS)]
        mixed = "".join(random.choice((letter, letter.upper())) for letter in name)
        anywhere = f"{random.randrange(1, 224)}.{random.randrange(256)}.{random.randrange(256)}.0"
        option = dns.edns.ECSOption(random.choice((anywhere, random.choice(nets))), 24)
        wire = dns.message.make_query(mixed, kind, use_edns=0, options=[option], flags=0).to_wire()
        stream += len(wire).to_bytes(2, "big") + wire
    return stream


def _port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


Running = tuple["subprocess.Popen[bytes]", int, float]


def _start(argv: list[str], core: int, port: int) -> Running:
    began = time.monotonic()
    process = subprocess.Popen(
        argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return process, port, began


def _answers_after(process: subprocess.Popen[bytes], port: int, began: float) -> float:
    """Seconds from the start to the first answer."""
    query = dns.message.make_query("cinema.test", "SOA")
    while True:
        try:
            dns.query.udp(query, "127.0.0.1", port=port, timeout=0.02)
            return time.monotonic() - began
        except (dns.exception.DNSException, OSError):
            if process.poll() is not None or time.monotonic() - began > 10:
                raise RuntimeError(f"{process.args!r} does not answer") from None


def _ours(folder: Path, core: int) -> Running:
    port = _port()
    places = {
        region: {
            "region": region,
            "targets": [{"name": "edge", "a": [address], "https": "alpn=h2 port=8443"}],
        }
        for region, address in _PLACES.items()
    }
    nearest = {"kind": "latency", "to": list(_PLACES)}
    config = {
        "listen": [f"127.0.0.1:{port}"],
        "zones": [
            {
                "name": "cinema.test",
                "soa": {"primary": "ns1"},
                "ns": ["ns1"],
                "records": [
                    {"name": "ns1", "type": "A", "values": ["127.0.0.1"]},
                    {"name": "static", "type": "A", "values": ["127.0.0.5"]},
                    {"name": "www", "type": "CNAME", "values": ["@"]},
                    {"name": "@", "type": "MX", "values": ["10 static"]},
                ],
                "routes": [
                    {
                        "name": "@",
                        "to": {"kind": "geography", "country": {"DE": "eu-west-1"}, "default": nearest},
                    }
                ],
            }
        ],
        "places": places,
    } | table("eu-west-1")
    path = folder / "ours.json"
    path.write_text(json.dumps(config))
    return _start([sys.executable, "-m", "tierline.engines.answers", str(path)], core, port)


def _bind(folder: Path, core: int, named: str) -> Running:
    """A view per place, chosen by addresses; the last one is for all, and for dnsperf's."""
    port = _port()
    views = ""
    for number, (region, address) in enumerate(_PLACES.items()):
        zone = folder / f"{region}.zone"
        zone.write_text(
            "$ORIGIN cinema.test.\n$TTL 60\n"
            "@ SOA ns1 hostmaster 1 7200 900 1209600 60\n@ NS ns1\nns1 A 127.0.0.1\nstatic A 127.0.0.5\n"
            f"www CNAME @\n@ MX 10 static\n@ A {address}\n@ HTTPS 1 . alpn=h2 port=8443 ipv4hint={address}\n"
        )
        last = number == len(_PLACES) - 1
        clients = (
            "any;"
            if last
            else "".join(f" {s['net']};" for s in table("")["subnets"] if s["region"] == region)
        )
        views += (
            f'view "{region}" {{ match-clients {{ {clients} }};\n'
            f'  zone "cinema.test" {{ type primary; file "{zone}"; }};\n}};\n'
        )
    path = folder / "named.conf"
    path.write_text(
        f'options {{ directory "{folder}"; pid-file none; session-keyfile "{folder}/session.key";\n'
        f"  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};\n"
        "  recursion no; minimal-responses yes; dnssec-validation no; querylog no; }};\n".replace("}};", "};")
        + "controls { };\nlogging { category default { null; }; };\n"
        + views
    )
    return _start([named, "-f", "-n", "1", "-c", str(path)], core, port)


def _ask(dnsperf: str, port: int, queries: Path, core: int) -> tuple[int, float]:
    """Answers, and answers per second, of a round. Raises RuntimeError when over one in a hundred is lost."""
    ran = subprocess.run(
        [
            dnsperf,
            "-s",
            "127.0.0.1",
            "-p",
            str(port),
            "-B",
            "-d",
            str(queries),
            "-l",
            str(SECONDS),
            "-c",
            "4",
        ],
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    count = re.search(r"Queries completed:\s+(\d+)", ran.stdout)
    rate = re.search(r"Queries per second:\s+([\d.]+)", ran.stdout)
    lost = re.search(r"Queries lost:\s+\d+ \(([\d.]+)%\)", ran.stdout)
    if count is None or rate is None or lost is None or float(lost[1]) > 1:
        raise RuntimeError(f"dnsperf could not measure:\n{ran.stdout}{ran.stderr}")
    return int(count[1]), float(rate[1])


def _busy(pid: int) -> float:
    """Seconds of CPU time that a process and its threads have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    """Resident, in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000
