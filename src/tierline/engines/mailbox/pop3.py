"""The POP3 side (RFC 1939, CAPA from RFC 2449): mail programs read and delete what came.

The user `tierline` sees every mail, an address (`ada@example.com`) those for it; the password is the inbox's one.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tierline.engines.mailbox.doors import Doors
from tierline.engines.mailbox.store import Store

_LINE = 512
_TRIES = 3
_CAPABILITIES = (
    "USER",
    "TOP",
    "UIDL",
    "RESP-CODES",
    "AUTH-RESP-CODE",
    "PIPELINING",
    "IMPLEMENTATION tierline",
)


async def serve(store: Store, config: dict[str, Any]) -> asyncio.Server:
    host, port = config["pop3"]
    doors = Doors("pop3", config)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("peername")[0]
        if refusal := doors.refuses(address):
            # For now (RFC 3206, section 4): mail programs try again without asking for the password.
            writer.write(f"-ERR [SYS/TEMP] {refusal}\r\n".encode())
            writer.close()
            return
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                await _Session(store, config, reader, writer).run(doors.idle)
        finally:
            doors.leave(address)
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()  # it doesn't read: waiting for it would keep what it was sent
            writer.close()

    return await asyncio.start_server(connected, host, port, limit=_LINE)


class _No(Exception):
    """Said with -ERR."""


class _Session:
    """One connection: first who, then what, and at the end what is deleted."""

    def __init__(
        self, store: Store, config: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._store, self._config, self._reader, self._writer = store, config, reader, writer
        self._user = ""
        self._known = False
        self._mails: list[tuple[str, int]] = []
        """Name and bytes; the numbers of the protocol are places here."""
        self._deleted: set[int] = set()
        self._failed = 0

    async def run(self, idle: float) -> None:
        """Until it quits or is silent for `idle` seconds; then nothing is deleted (RFC 1939, section 3)."""
        self._say("+OK tierline")
        while True:
            async with asyncio.timeout(idle):
                await self._writer.drain()
                line = (await self._reader.readuntil(b"\n")).decode("utf-8", "replace").strip()
            word, *words = line.split(" ")
            command = word.upper()
            if command == "QUIT":
                names = [self._mails[number][0] for number in self._deleted]
                removed = await asyncio.to_thread(list, map(self._store.remove, names))
                self._say(f"+OK {sum(removed)} deleted")
                await self._writer.drain()
                return
            try:
                self._verb(command)(words)
            except _No as no:
                self._say(f"-ERR {no}")
            if self._failed >= _TRIES:
                await self._writer.drain()
                return

    def _verb(self, command: str) -> Callable[[list[str]], None]:
        always = {"CAPA": self._capa, "NOOP": self._noop}
        before = {"USER": self._name, "PASS": self._password}
        after = {
            "STAT": self._stat, "LIST": self._list, "UIDL": self._uidl, "RETR": self._retr, "TOP": self._top,
            "DELE": self._dele, "RSET": self._rset,
        }  # fmt: skip
        now = {**always, **(after if self._known else before)}
        if command in now:
            return now[command]
        raise _No(
            "log in first"
            if command in after
            else "log out first"
            if command in before
            else "unknown command"
        )

    def _say(self, line: str) -> None:
        self._writer.write(line.encode() + b"\r\n")

    def _lines(self, first: str, lines: list[str]) -> None:
        self._say("\r\n".join([first, *lines, "."]))

    def _capa(self, _: list[str]) -> None:
        self._lines("+OK", list(_CAPABILITIES))

    def _noop(self, _: list[str]) -> None:
        self._say("+OK")

    def _name(self, words: list[str]) -> None:
        self._user = " ".join(words)
        self._say("+OK")

    def _password(self, words: list[str]) -> None:
        given, wanted = " ".join(words), str(self._config["password"])
        who = self._user == (self._config["user"] or "tierline") or "@" in self._user
        if not hmac.compare_digest(given.encode(), wanted.encode()) or not who:
            self._failed += 1
            raise _No("[AUTH] wrong name or password")
        self._known = True
        self._mails += self._store.sizes(self._user if "@" in self._user else "")
        self._say(f"+OK {len(self._mails)} mails")

    def _stat(self, _: list[str]) -> None:
        here = [size for number, (_, size) in enumerate(self._mails) if number not in self._deleted]
        self._say(f"+OK {len(here)} {sum(here)}")

    def _each(self, words: list[str], told: Callable[[int], str]) -> None:
        """One line of each mail, or of the one that is asked for."""
        if words:
            number = self._number(words)
            self._say(f"+OK {number + 1} {told(number)}")
        else:
            left = [number for number in range(len(self._mails)) if number not in self._deleted]
            self._lines(f"+OK {len(left)} mails", [f"{number + 1} {told(number)}" for number in left])

    def _list(self, words: list[str]) -> None:
        self._each(words, lambda number: str(self._mails[number][1]))

    def _uidl(self, words: list[str]) -> None:
        self._each(words, lambda number: self._mails[number][0])

    def _retr(self, words: list[str]) -> None:
        self._send(self._raw(words))

    def _top(self, words: list[str]) -> None:
        if len(words) != 2 or not words[1].isdecimal():
            raise _No("TOP number lines")
        head, _, body = self._raw(words[:1]).partition(b"\r\n\r\n")
        self._send(head + b"\r\n\r\n" + b"\r\n".join(body.split(b"\r\n")[: int(words[1])]))

    def _send(self, raw: bytes) -> None:
        # A line of one dot ends the mail, so one that begins with a dot gets another.
        lines = [
            b"." + line if line.startswith(b".") else line
            for line in raw.removesuffix(b"\r\n").split(b"\r\n")
        ]
        self._writer.write(b"+OK\r\n" + b"\r\n".join(lines) + b"\r\n.\r\n")

    def _raw(self, words: list[str]) -> bytes:
        raw = self._store.read(self._mails[self._number(words)][0])
        if raw is None:
            raise _No("somebody else has deleted it")
        return raw

    def _dele(self, words: list[str]) -> None:
        self._deleted.add(self._number(words))
        self._say("+OK")

    def _rset(self, _: list[str]) -> None:
        self._deleted.clear()
        self._say("+OK")

    def _number(self, words: list[str]) -> int:
        if len(words) != 1 or not words[0].isdecimal() or not 1 <= int(words[0]) <= len(self._mails):
            raise _No(f"no such mail: there are {len(self._mails)}")
        number = int(words[0]) - 1
        if number in self._deleted:
            raise _No("it is deleted")
        return number
