"""named.conf and the zone files: what answers/keeper.py writes for BIND 9.

A view is one outcome of routing, with the networks that are answered so. `named` takes the first view that
matches a client; the networks of the views do not overlap, and the largest view comes last and has the rest.
It listens to no control channel: a change is told by a signal.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from tierline.engines import binaries
from tierline.engines.answers.config import Config
from tierline.engines.answers.outcomes import Line, Outcome, World

_PID = "named.pid"


def render(config: Config, world: World, folder: Path) -> dict[str, str]:
    views = sorted(world.outcomes().items(), key=lambda view: _size(view[1]))
    found: dict[str, str] = {}
    text = _options(config)
    for number, (outcomes, nets) in enumerate(views):
        last = number == len(views) - 1
        text += f'\nview "{number}" {{\n'
        text += "    match-clients { any; };\n" if last else f"    match-clients {{ {'; '.join(nets)}; }};\n"
        for zone, outcome in zip(world.zones(), outcomes, strict=True):
            name = f"{zone}.{number}.zone"
            found[name] = _zone(world.fixed(zone), outcome)
            text += f'    zone "{zone}" {{ type primary; file "{name}"; }};\n'
        text += "};\n"
    return {**found, "named.conf": text}


def problem(folder: Path) -> str:
    checker = binaries.find("named-checkconf", install="apt-get install bind9-utils").path
    done = subprocess.run(
        [checker, "-z", "named.conf"], cwd=folder, capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def tell(folder: Path) -> bool:
    with suppress(OSError, ValueError, psutil.Error):
        pid = int((folder / _PID).read_text())
        # A file that a killed server left may hold a number that is somebody else's by now.
        if str(folder) in psutil.Process(pid).cmdline():
            os.kill(pid, signal.SIGHUP)
            return True
    return False


def _size(nets: list[str]) -> float:
    return sum(2.0 ** -int(net.partition("/")[2]) for net in nets if ":" not in net)


def _zone(fixed: list[Line], outcome: Outcome) -> str:
    return "".join(f"{line.owner} {line.ttl} IN {line.kind} {line.data}\n" for line in [*fixed, *outcome])


def _listed(networks: list[str]) -> str:
    return "".join(f" {net};" for net in networks) or " none;"


def _options(config: Config) -> str:
    listens = ""
    for text in config.listen:
        host, _, port = text.rpartition(":")
        kind = "listen-on-v6" if ":" in host else "listen-on"
        listens += f"    {kind} port {port} {{ {host.strip('[]')}; }};\n"
    if "listen-on-v6" not in listens:
        listens += "    listen-on-v6 { none; };\n"
    if "listen-on port" not in listens:
        listens += "    listen-on { none; };\n"
    limit = ""
    if config.rate.per_second:
        limit = (
            f"    rate-limit {{ responses-per-second {round(config.rate.per_second)}; slip {config.rate.slip};"
            f" exempt-clients {{{_listed(config.trusted)} }}; }};\n"
        )
    return f"""# written by tierline; changes are lost
options {{
    directory ".";
    pid-file "{_PID}";
    lock-file none;
    session-keyfile none;
{listens}    recursion no;
    allow-query {{ any; }};
    allow-transfer {{{_listed(config.transfer)} }};
    notify no;
    minimal-any yes;
    no-case-compress {{ any; }};
    rrset-order {{ order random; }};
    max-udp-size {config.udp_size};
    edns-udp-size {config.udp_size};
    tcp-clients {config.tcp.connections};
    tcp-idle-timeout {max(1, round(config.tcp.idle * 10))};
    dnssec-validation no;
    empty-zones-enable no;
    masterfile-format text;
    version none;
    hostname none;
{limit}{config.raw}
}};
controls {{ }};
logging {{
    channel ours {{ stderr; severity warning; print-severity yes; }};
    category default {{ ours; }};
    category lame-servers {{ null; }};
}};
"""
