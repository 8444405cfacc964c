"""Apache Traffic Server as an engine: one role, in a run root of its own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process, Step
from tierline.engines.context import Context
from tierline.engines.forwarded import UNDERSCORED
from tierline.engines.hopbyhop import ALLOWED, KEPT
from tierline.engines.trafficserver.config import SAMPLED
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.model import Unit
from tierline.tiers.base import system


class Fragment(msgspec.Struct, kw_only=True):
    """What a role adds: files of the configuration folder by name, and bounds."""

    files: dict[str, str]
    disk: int


_LEAD = """
import os, socket, sys, time
host, port, *pairs = sys.argv[1:]
while not all(os.path.exists(each) for each in pairs[::2]):
    with socket.create_connection((host, int(port)), 2) as client:
        client.sendall(b"PURGE / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        client.recv(100)
    time.sleep(0.2)
for log, hops in zip(pairs[::2], pairs[1::2]):
    # Renaming a file to another name of itself does nothing, and would leave the first name behind (rename(2)).
    if not (os.path.exists(hops) and os.path.samefile(log, hops)):
        if os.path.exists(hops + ".new"):
            os.unlink(hops + ".new")
        os.link(log, hops + ".new")
        os.replace(hops + ".new", hops)
"""
"""It begins its log with the first request: one that it refuses. Then its log, and the one of sampled hops that
cache.lua writes, become the line's: it gives up the right to reach the line's own folder of hops."""
_HERE = Path("/proc/self/cwd")
"""The unit's folder, as the program sees it: it asks `access()`, which doesn't know the right to pass through
closed folders that the process has."""
_MODULES = "/usr/lib/trafficserver/modules"


class TrafficServer:
    """See the module."""

    name = "trafficserver"

    def binary(self) -> Binary:
        return binaries.find(
            "trafficserver", commands=("traffic_server",), install="apt-get install trafficserver"
        )

    def version(self) -> str:
        return binaries.version(self.binary().path, "-V")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        (role,) = unit.roles
        fragment: Fragment = system(role.slot, role.system).contribute(role, context)
        folder = context.folder(unit.id)
        hops = context.hops(role.id)
        etc = folder / "etc"
        host, port = context.address(role.id, "http")
        script = (resources.files(__package__) / "cache.lua").read_text()
        script = script.replace("{UNKEYED", "{" + ", ".join(f"'{name}'" for name in (*UNKEYED, *UNDERSCORED)))
        kept = ", ".join(f"['{name}'] = true" for name in sorted(KEPT))
        script = script.replace("{KEPT}", "{" + kept + "}").replace("{ALLOWED}", ALLOWED)
        root = folder / "runroot.yaml"
        logs = folder / "logs"
        pairs = (str(logs / hops.name), str(hops), str(logs / SAMPLED), str(context.hops(f"{role.id}.now")))
        files = {
            root: _run_root(),
            etc / "storage.config": f"{_HERE}/cache {max(fragment.disk >> 20, 16)}M\n",
            etc / "cache.lua": script,
            etc
            / "ip_allow.yaml": "ip_allow:\n  - apply: in\n    ip_addrs: 127.0.0.0/8\n    action: allow\n    methods: ALL\n",
            etc / "plugin.config": "",
            **{etc / name: text for name, text in fragment.files.items()},
        }
        leads = (
            Step(
                argv=(context.python, "-I", "-S", "-c", _LEAD, host, str(port), *pairs),
                about="leading its log to the line's hops",
                timeout=10.0,
            ),
        )  # fmt: skip
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(self.binary().path, f"--run-root={_HERE}/runroot.yaml"),
                cwd=str(folder),
                region=unit.region,
                zone=unit.zone,
                roles=(role.id,),
                files={str(path): text for path, text in files.items()},
                folders=tuple(str(folder / name) for name in ("", "etc", "cache", "run", "share", "logs")),
                unprivileged=True,
                # What it doesn't look at: names in records.config that it doesn't know.
                check=(self.binary().path, f"--run-root={_HERE}/runroot.yaml", "-C", "verify_config"),
                # It writes its log only into files that it began itself.
                after_ready=leads,
                ready=Probe(kind="tcp", target=f"{host}:{port}"),
                # Refused before it is a request; its log has no 505.
                alive=Probe(
                    kind="say",
                    target=f"{host}:{port}",
                    say=b"GET / HTTP/9.9\r\n\r\n",
                    expect=b"HTTP/1.1 505",
                ),
                ready_timeout=30.0,
                stop_signal="TERM",
                stop_timeout=3.0,
            )
        ]


def _run_root() -> str:
    binary = Path("/usr")
    places = {
        "prefix": _HERE, "exec_prefix": binary, "bindir": binary / "bin", "sbindir": binary / "sbin",
        "sysconfdir": _HERE / "etc", "datadir": _HERE / "share", "includedir": binary / "include",
        "libdir": binary / "lib/trafficserver", "libexecdir": _MODULES, "localstatedir": _HERE / "run",
        "runtimedir": _HERE / "run", "logdir": _HERE / "logs", "mandir": binary / "share/man",
        "infodir": binary / "share/info", "cachedir": _HERE / "cache",
    }  # fmt: skip
    return "".join(f"{name}: {place}\n" for name, place in places.items())


ENGINE = TrafficServer()
