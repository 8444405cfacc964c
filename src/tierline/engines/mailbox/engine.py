"""The local inbox as an engine (`feature.mail`): tierline's own, because no wheel has a mail server.

Endpoints of the unit's first role: `smtp`, `pop3`, `http`. Secrets: `mailbox.password` (SMTP and POP3; the
user is `tierline`), `mailbox.token` (HTTP). Settings of a role: `auth` (default true: mail needs the password),
`max_size` (bytes, default 10 MB), `keep` (mails, default 1000; the oldest go).
"""

from __future__ import annotations

import json
import sys

from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.plan.model import Unit

USER = "tierline"
PASSWORD = "mailbox.password"  # noqa: S105  the secret's name
TOKEN = "mailbox.token"  # noqa: S105  the secret's name


class Mailbox:
    """See the module."""

    name = "mailbox"

    def binary(self) -> Binary:
        return Binary(path=sys.executable, version="", source="wheel")

    def version(self) -> str:
        from importlib.metadata import version

        return version("aiosmtpd")

    def processes(self, unit: Unit, context: Context) -> list[Process]:
        first = unit.roles[0]
        host, port = context.address(first.id, "smtp")
        web_host, web_port = context.address(first.id, "http")
        data, config = context.data(unit.id), context.folder(unit.id) / "mailbox.json"
        settings = {key: value for role in unit.roles for key, value in role.settings.items()}
        content = {
            "smtp": [host, port],
            "pop3": list(context.address(first.id, "pop3")),
            "http": [web_host, web_port],
            "folder": str(data),
            "token": context.secret(TOKEN),
            "user": USER if settings.get("auth", True) else None,
            "password": context.secret(PASSWORD),
            "max_size": settings.get("max_size") or 10_000_000,
            "keep": settings.get("keep") or 1000,
        }
        return [
            Process(
                name=unit.id,
                engine=self.name,
                argv=(context.python, "-m", "tierline.engines.mailbox", str(config)),
                region=unit.region,
                zone=unit.zone,
                roles=tuple(role.id for role in unit.roles),
                files={str(config): json.dumps(content)},
                folders=(str(data),),
                ready=Probe(kind="http", target=f"http://{web_host}:{web_port}/health"),
            )
        ]


ENGINE = Mailbox()
