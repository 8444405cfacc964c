"""The SMTP side: takes mail for anybody from whoever knows the password."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tierline.engines.mailbox.store import Store


class Handler:
    """What aiosmtpd calls."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        try:
            name = self.store.add(envelope.mail_from or "", envelope.rcpt_tos, content)
        except OSError as problem:
            return f"452 4.3.1 Can't store it: {problem.strerror}"
        return f"250 2.0.0 Stored as {name}"


async def serve(store: Store, config: dict[str, Any]) -> asyncio.Server:
    host, port = config["smtp"]
    handler = Handler(store)
    user: str | None = config["user"]

    def authenticate(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: Any
    ) -> AuthResult:
        known = (
            isinstance(given, LoginPassword)
            and user is not None
            and hmac.compare_digest(given.login, user.encode())
            and hmac.compare_digest(given.password, config["password"].encode())
        )
        return AuthResult(success=known, handled=known)

    def protocol() -> SMTP:
        return SMTP(
            handler,
            hostname="localhost",
            ident="tierline",
            data_size_limit=config["max_size"],
            enable_SMTPUTF8=True,
            authenticator=authenticate,
            auth_required=user is not None,
            auth_require_tls=False,  # loopback alone: there is no wire to listen on
            timeout=60,
        )

    return await asyncio.get_running_loop().create_server(protocol, host, port)
