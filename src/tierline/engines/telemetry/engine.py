"""Telemetry as an engine: one process that reads hop files, receives OTLP, and keeps everything in DuckDB."""

from __future__ import annotations

import json
import sys

from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.plan.model import Unit

TOKEN = "telemetry.token"  # noqa: S105  the secret's name
EVENTS_KEY = "events.key"
"""The secret that sessions are made pseudonyms with."""


class Telemetry:
    """See the module."""

    name = "telemetry"

    def binary(self) -> Binary:
        return Binary(path=sys.executable, version=self.version(), source="path")

    def version(self) -> str:
        from tierline import __version__

        return __version__

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        role = unit.roles[0]
        host, port = context.address(role.id, "otlp")
        config = context.folder(unit.id) / "telemetry.json"
        told = {
            "host": host,
            "port": port,
            "token": context.secret(TOKEN),
            "hops": str(context.hops(unit.id).parent),
            "database": str(context.data(unit.id) / "hops.duckdb"),
            "key": context.secret(EVENTS_KEY),
            "retention": {
                "hops": role.settings["retention"],
                "counts": role.settings["counts"],
                "events": role.settings["events"],
            },
            "state": str(context.folder(unit.id).parents[1]),
        }
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(context.python, "-m", "tierline.engines.telemetry", str(config)),
                region=unit.region,
                roles=(role.id,),
                files={str(config): json.dumps(told, indent=1)},
                folders=(str(context.data(unit.id)),),
                ready=Probe(kind="http", target=f"http://{host}:{port}/health"),
            )
        ]


ENGINE = Telemetry()
