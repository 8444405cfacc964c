"""pdns.conf and zones.json (JSON is YAML): what answers/keeper.py writes for PowerDNS's geoip backend.

What is the same for everyone are `records` of the zone. What is routed is a `service` of its name: networks,
each with the name of the records that it gets. Those names end with `.tierline.`, so no client can ask for
them. All addresses are in some network, or the scope that PowerDNS tells resolvers would be too wide.

A change is told on the control socket in the unit's folder; nothing listens on TCP for that.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from tierline.engines import binaries
from tierline.engines.answers.config import Config
from tierline.engines.answers.outcomes import Line, World
from tierline.engines.sockets import short

_SOCKET = "pdns.controlsocket"
_TIMEOUT = 5.0


def render(config: Config, world: World, folder: Path) -> dict[str, str]:
    domains = []
    outcomes = world.outcomes()
    for at, zone in enumerate(world.zones()):
        records: dict[str, list[dict[str, Any]]] = {}
        services: dict[str, dict[str, list[str]]] = {}
        for line in world.fixed(zone):
            records.setdefault(line.owner, []).append(_record(line))
        for number, (outcome, nets) in enumerate(outcomes.items()):
            for line in outcome[at]:
                hidden = f"{number}.{line.owner}tierline."
                records.setdefault(hidden, []).append(_record(line))
                services.setdefault(line.owner, {}).update({net: [hidden] for net in nets})
        domains.append({"domain": zone, "ttl": 60, "records": records, "services": services})
    return {
        "zones.json": json.dumps({"domains": domains}, indent=1) + "\n",
        "pdns.conf": _options(config),
    }


def problem(folder: Path) -> str:
    """Its checker looks at pdns.conf alone; what is in the zones comes from a checked configuration."""
    program = binaries.find("powerdns", commands=("pdns_server",), install="apt-get install pdns-server").path
    done = subprocess.run(
        [program, "--config-dir=.", "--config=check"], cwd=folder, capture_output=True, text=True, check=False,
        timeout=_TIMEOUT,
    )  # fmt: skip
    return (done.stdout + done.stderr).strip() if done.returncode else ""


def tell(folder: Path) -> bool:
    """Whether the running PowerDNS has taken the files."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as link, short(folder / _SOCKET) as path:
        link.settimeout(_TIMEOUT)
        link.connect(path)
        link.sendall(b"rediscover\n")
        return bool(link.recv(4096))
    return False


def _record(line: Line) -> dict[str, Any]:
    """`%` would begin one of the placeholders of the backend, which has no escape; DNS has one."""
    data = line.data
    if line.kind == "HTTPS":  # its parser takes no quotes where none are needed
        data = re.sub(r'="([^"\\\s]*)"', r"=\1", data)
    found: dict[str, Any] = {"content": data.replace("%", r"\037"), "ttl": line.ttl}
    if line.weight:
        found["weight"] = max(1, round(line.weight * 10_000))
    return {line.kind.lower(): found}


def _options(config: Config) -> str:
    listens = [text.rpartition(":") for text in config.listen]
    allowed = ",".join(config.transfer)
    return f"""# written by tierline; changes are lost
launch=geoip
geoip-zones-file=zones.json
geoip-database-files=
local-address={",".join(f"{host}:{port}" for host, _, port in listens)}
socket-dir=.
daemon=no
guardian=no
write-pid=no
setuid=
setgid=
api=no
webserver=no
security-poll-suffix=
version-string=anonymous
server-id=disabled
loglevel=4
log-timestamp=no
edns-subnet-processing=yes
any-to-tcp=yes
disable-axfr={"no" if allowed else "yes"}
allow-axfr-ips={allowed}
udp-truncation-threshold={config.udp_size}
max-tcp-connections={config.tcp.connections}
tcp-idle-timeout={max(1, round(config.tcp.idle))}
# Answers differ by client and by health: none may be kept.
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
{config.raw}
"""
