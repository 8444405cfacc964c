"""The counter as an engine (`feature.limits`): what gateways may still let in, for all of them together.

Endpoint of the unit's role: `http`, on loopback, for who has the secret `limits.token`. Quotas outlive every process
and the line itself (`down` keeps them, `down --volumes` forgets them); rates are memory, as a second or a minute
needs no disk. Gateways count alone while it is away.
"""

from __future__ import annotations

import json
import platform
import sys

from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.plan.model import Unit

ROLE = "limits"
"""The role's name in every plan that has one."""
CREDENTIAL = "limits.token"
"""The secret's name."""


class Counter:
    """See the module."""

    name = "counter"

    def binary(self) -> Binary:
        return Binary(path=sys.executable, version=platform.python_version(), source="path")

    def version(self) -> str:
        return platform.python_version()

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        role = unit.roles[0]
        host, port = context.address(role.id, "http")
        config = context.folder(unit.id) / "counter.json"
        told = {
            "host": host,
            "port": port,
            "token": context.secret(CREDENTIAL),
            "store": str(context.data(unit.id) / "quotas.sqlite"),
        }
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(context.python, "-m", "tierline.engines.counter", str(config)),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={str(config): json.dumps(told)},
                folders=(str(context.folder(unit.id)), str(context.data(unit.id))),
                ready=Probe(kind="http", target=f"http://{host}:{port}/health"),
            )
        ]


ENGINE = Counter()
