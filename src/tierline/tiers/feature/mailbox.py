"""Mail into a local inbox: every mail is kept, none is delivered."""

from __future__ import annotations

from collections.abc import Sequence

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System


class Mailbox(System):
    title = "tierline mailbox"
    engine = "mailbox"
    levels = frozenset({"runs"})
    supports = frozenset({"mail"})
    endpoints = {"smtp": "smtp", "pop3": "tcp", "imap": "tcp", "http": "http"}
    group = "server"

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        at = roles[0].id
        return {
            "SMTP_URL": Text(
                ("smtp://tierline:", Ref(at, "secret.mailbox.password"), "@", Ref(at, "smtp.address"))
            ),
            "SMTP_HOST": Text((Ref(at, "smtp.host"),)),
            "SMTP_PORT": Text((Ref(at, "smtp.port"),)),
            "MAIL_FROM": Text((roles[0].settings["sender"],)),
        }
