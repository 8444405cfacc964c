"""The SMTP side: takes mail for anybody from whoever knows the password."""

from __future__ import annotations

import asyncio
import hmac
import sqlite3
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tierline.engines.mailbox.doors import Doors
from tierline.engines.mailbox.store import Store


class _Session(SMTP):
    """A connection, as long as there is room for one more."""

    def __init__(self, doors: Doors, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named, timeout=doors.idle)
        self._doors = doors
        self._address: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = transport.get_extra_info("peername")[0]
        refusal = self._doors.refuses(address)
        if refusal:
            # RFC 5321, 3.8, and RFC 3463, 3.4: not now, and the client keeps its mail.
            assert isinstance(transport, asyncio.Transport)
            transport.write(f"421 4.3.2 {refusal}\r\n".encode())
            transport.close()
            return
        self._address = address
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._address is not None:
            super().data_received(data)

    def eof_received(self) -> bool | None:
        return super().eof_received() if self._address is not None else None

    def connection_lost(self, error: Exception | None) -> None:
        if self._address is not None:
            self._doors.leave(self._address)
            super().connection_lost(error)


class Handler:
    """What aiosmtpd calls."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.original_content or b""
        try:
            # Off the loop, which takes other mail meanwhile: the disk may take its time.
            name = await asyncio.to_thread(
                self.store.add, envelope.mail_from or "", envelope.rcpt_tos, content
            )
        except OSError as problem:
            return f"452 4.3.1 Can't store it: {problem.strerror}"
        except sqlite3.Error as problem:
            return f"452 4.3.1 Can't store it: {problem}"
        return f"250 2.0.0 Stored as {name}"


async def serve(store: Store, config: dict[str, Any]) -> asyncio.Server:
    host, port = config["smtp"]
    handler, doors = Handler(store), Doors("smtp", config)
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
        return _Session(
            doors,
            handler,
            hostname="localhost",
            ident="tierline",
            data_size_limit=config["max_size"],
            enable_SMTPUTF8=True,
            authenticator=authenticate,
            auth_required=user is not None,
            auth_require_tls=False,  # loopback alone: there is no wire to listen on
        )

    return await asyncio.get_running_loop().create_server(protocol, host, port)
