"""The local inbox as an engine (`feature.mail`): tierline's own, because no wheel has a mail server.

Endpoints of the unit's first role: `smtp`, `pop3`, `imap`, `http`. Secrets: `mailbox.password` (SMTP, POP3, IMAP; the
user is `tierline`), `mailbox.token` (HTTP). Settings of a role: `auth` (default true: mail needs the password),
`max_size` (bytes, default 10 MB), `keep` (mails, default 1000; the oldest go).
"""

from __future__ import annotations

import importlib.util
import json
import sys

from tierline.engines.base import Binary, Probe, Process
from tierline.engines.context import Context
from tierline.errors import EngineError
from tierline.plan.model import Unit

USER = "tierline"
PASSWORD = "mailbox.password"  # noqa: S105  the secret's name
TOKEN = "mailbox.token"  # noqa: S105  the secret's name


def _imap(name: str, context: Context) -> bool:
    """Whether mail programs come to this inbox by a balancer: then it speaks IMAP, which needs Twisted.

    Raises EngineError when that isn't installed.
    """
    if not any(
        role.tier == "lb" and role.settings.get("mail") == name for role in context.plan.roles.values()
    ):
        return False
    if importlib.util.find_spec("twisted") is None:
        raise EngineError(
            "mail= of the balancer needs an IMAP server. Install it: pip install 'tierline[mail]'"
        )
    return True


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
            "imap": list(context.address(first.id, "imap")) if _imap(first.name, context) else None,
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
