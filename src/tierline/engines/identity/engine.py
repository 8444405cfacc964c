"""The local OpenID provider as an engine (`feature.identity`): plays a hosted identity provider for browsers' logins.

Endpoint of the unit's role: `http`. Secrets: `login.client` (the gateway's client secret). Settings of a role:
`client_id`, `users` (name → claims), `callback` (the only path that codes are sent to), `session` (seconds).
"""

from __future__ import annotations

import json
import platform
import sys

from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.plan.model import Unit

CLIENT = "login.client"
"""The secret's name."""


class Identity:
    """See the module."""

    name = "identity"

    def binary(self) -> Binary:
        return Binary(path=sys.executable, version=platform.python_version(), source="path")

    def version(self) -> str:
        return platform.python_version()

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        role = unit.roles[0]
        host, port = context.address(role.id, "http")
        config = context.folder(unit.id) / "identity.json"
        settings = role.settings
        told = {
            "host": host,
            "port": port,
            "issuer": f"http://{host}:{port}",
            "key": context.attribute_of("gateway", "signing_key"),
            "key_id": context.attribute_of("gateway", "key_id"),
            "client_id": settings["client_id"],
            "client_secret": context.secret(CLIENT),
            "users": settings["users"],
            "callback": settings["callback"],
            "hosts": [context.plan.domain],
            "session": settings["session"],
        }
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(context.python, "-m", "tierline.engines.identity", str(config)),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={str(config): json.dumps(told)},
                folders=(str(context.folder(unit.id)),),
                ready=Probe(kind="http", target=f"http://{host}:{port}/health"),
            )
        ]


ENGINE = Identity()
