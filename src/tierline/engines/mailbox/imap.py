"""The IMAP side (RFC 3501), on Twisted's server: mail programs read, mark and delete what came.

The user `tierline` sees every mail, an address (`ada@example.com`) those for it; the password is the inbox's one. There
is one mailbox, INBOX. Marks and numbers (UIDs) live as long as the process: its start is the mailbox's UIDVALIDITY,
which tells mail programs to look anew.
"""

from __future__ import annotations

import asyncio
import email.utils
import hmac
import io
import time
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from email.message import Message
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.mail import imap4
from zope.interface import implementer

from tierline.engines.mailbox.doors import Doors
from tierline.engines.mailbox.store import Store

_GOODBYE = 5.0
_LOGIN = 60.0
"""Seconds of silence before somebody is logged in."""
_FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")


def serve(store: Store, config: dict[str, Any]) -> None:
    """Listen, until the process ends."""
    from twisted.internet import asyncioreactor

    # Twisted runs on the loop that runs already; nothing before this may have asked for its reactor.
    asyncioreactor.install(asyncio.get_running_loop())
    from twisted.internet import reactor

    host, port = config["imap"]
    reactor.listenTCP(port, _Sessions(_House(store, config)), interface=host)
    reactor.startRunning(False)


class _House:
    """What all sessions share: the mails, what programs know them by, and how they have marked them."""

    def __init__(self, store: Store, config: dict[str, Any]) -> None:
        self.store, self.config = store, config
        self.validity = int(time.time())
        self.next = 1
        self._flags: dict[str, set[str]] = {}
        self._uids: dict[str, int] = {}
        self._loaded: tuple[str, bytes, Message] = ("", b"", Message())

    def uid(self, name: str) -> int:
        if name not in self._uids:
            if len(self._uids) > 2 * self.store.keep:  # mails that are gone never come back
                there = set(self.store.names())
                self._uids = {each: uid for each, uid in self._uids.items() if each in there}
                self._flags = {each: flags for each, flags in self._flags.items() if each in there}
            self._uids[name] = self.next
            self.next += 1
        return self._uids[name]

    def load(self, name: str) -> tuple[bytes, Message]:
        """A mail and what it consists of; empty when it is gone meanwhile. The last one is kept, and no more: a program
        asks for all there are at once."""
        if self._loaded[0] != name:
            raw = self.store.read(name) or b""
            self._loaded = (name, raw, message_from_bytes(raw))
        return self._loaded[1:]

    def flags(self, name: str) -> set[str]:
        return self._flags.setdefault(name, set())

    def mark(self, name: str, flags: set[str]) -> None:
        self._flags[name] = flags

    def of(self, who: str) -> list[str]:
        """Names of the mails that somebody may see, the oldest first."""
        return self.store.names(who if "@" in who else "")


class _Sessions(Factory):  # type: ignore[misc]
    noisy = False

    def __init__(self, house: _House) -> None:
        self._house = house
        self._doors = Doors("imap", house.config)

    def buildProtocol(self, address: Any) -> Protocol:
        refusal = self._doors.refuses(address.host)
        return _Refusal(refusal) if refusal else _Session(self._house, self._doors, address.host)


class _Refusal(Protocol):  # type: ignore[misc]
    """A greeting that is a goodbye (RFC 3501, 7.1.5): not now (RFC 5530, UNAVAILABLE)."""

    def __init__(self, why: str) -> None:
        self._why = why

    def connectionMade(self) -> None:
        self.transport.write(f"* BYE [UNAVAILABLE] {self._why}\r\n".encode())
        self.transport.loseConnection()


class _Session(imap4.IMAP4Server):  # type: ignore[misc]
    def __init__(self, house: _House, doors: Doors, address: str) -> None:
        super().__init__()
        self._house, self._doors, self._address = house, doors, address
        self.POSTAUTH_TIMEOUT = doors.idle
        self.timeOut = min(_LOGIN, doors.idle)

    def connectionLost(self, reason: Any) -> None:
        self._doors.leave(self._address)
        super().connectionLost(reason)

    def timeoutConnection(self) -> None:
        from twisted.internet import reactor

        super().timeoutConnection()
        # A goodbye that nobody reads isn't waited for.
        reactor.callLater(_GOODBYE, lambda: self.transport.connected and self.transport.abortConnection())

    def authenticateLogin(self, user: bytes, password: bytes) -> Any:
        who, config = user.decode("utf-8", "replace"), self._house.config
        known = hmac.compare_digest(password, config["password"].encode())
        if not known or not (who == (config["user"] or "tierline") or "@" in who):
            raise imap4.UnauthorizedLogin("wrong name or password")
        return imap4.IAccount, _Account(self._house, who.lower()), lambda: None

    def do_NOOP(self, tag: bytes) -> None:
        if self.state == "select":
            self.mbox.look()
        self.sendPositiveResponse(tag, b"NOOP done")

    # Twisted's own compare what was asked (bytes) with what a header says (str).
    def search_HEADER(self, query: list[Any], _: int, mail: _Mail) -> bool:
        name = query.pop(0).decode("utf-8", "replace")
        return self._says(query, mail, name)

    def search_SUBJECT(self, query: list[Any], _: int, mail: _Mail) -> bool:
        return self._says(query, mail, "subject")

    def search_FROM(self, query: list[Any], _: int, mail: _Mail) -> bool:
        return self._says(query, mail, "from")

    def search_TO(self, query: list[Any], _: int, mail: _Mail) -> bool:
        return self._says(query, mail, "to")

    def search_CC(self, query: list[Any], _: int, mail: _Mail) -> bool:
        return self._says(query, mail, "cc")

    def _says(self, query: list[Any], mail: _Mail, header: str) -> bool:
        wanted = query.pop(0).decode("utf-8", "replace").lower()
        return wanted in mail.getHeaders(False, header).get(header.lower(), "").lower()

    unauth_NOOP = auth_NOOP = select_NOOP = logout_NOOP = (do_NOOP,)


@implementer(imap4.IAccount)
class _Account:
    def __init__(self, house: _House, who: str) -> None:
        self._house, self._who = house, who

    def listMailboxes(self, _: str, wildcard: str) -> list[tuple[str, Any]]:
        return [("INBOX", self.select("INBOX"))] if wildcard.upper() in ("*", "%", "INBOX") else []

    def select(self, name: str, rw: bool = True) -> Any:
        return _Inbox(self._house, self._who, rw) if name.upper() == "INBOX" else None

    def isSubscribed(self, name: str) -> bool:
        return name.upper() == "INBOX"

    def subscribe(self, _: str) -> bool:
        return True

    def _only(self, *_: Any) -> Any:
        raise imap4.MailboxException("there is INBOX and no other")

    create = delete = rename = unsubscribe = addMailbox = _only


@implementer(imap4.IMailbox)
class _Inbox:
    def __init__(self, house: _House, who: str, rw: bool) -> None:
        self._house, self._who, self._rw = house, who, rw
        self._listeners: list[Any] = []
        self._names = house.of(who)

    def look(self) -> None:
        """Tell of mails that came since. What went is told by an expunge alone: numbers stay what they are."""
        new = [name for name in self._house.of(self._who) if name not in self._names]
        self._names += new
        for listener in self._listeners if new else ():
            listener.newMessages(len(self._names), 0)

    def getUIDValidity(self) -> int:
        return self._house.validity

    def getUIDNext(self) -> int:
        return self._house.next

    def getUID(self, number: int) -> int:
        return self._house.uid(self._names[number - 1])

    def getMessageCount(self) -> int:
        return len(self._names)

    def getRecentCount(self) -> int:
        return 0

    def getUnseenCount(self) -> int:
        return sum("\\Seen" not in self._house.flags(name) for name in self._names)

    def isWriteable(self) -> bool:
        return self._rw

    def getFlags(self) -> list[str]:
        return list(_FLAGS)

    def getHierarchicalDelimiter(self) -> str:
        return "/"

    def requestStatus(self, names: Iterable[str]) -> Any:
        return imap4.statusRequestHelper(self, names)

    def addListener(self, listener: Any) -> bool:
        self._listeners.append(listener)
        return True

    def removeListener(self, listener: Any) -> bool:
        self._listeners.remove(listener)
        return True

    def destroy(self) -> None:
        raise imap4.MailboxException("INBOX stays")

    def addMessage(self, *_: Any) -> Any:
        raise imap4.MailboxException("mail comes over SMTP")

    def expunge(self) -> list[int]:
        self._may_write()
        gone = [name for name in self._names if "\\Deleted" in self._house.flags(name)]
        numbers = [self._names.index(name) + 1 for name in gone]
        for name in gone:
            self._house.store.remove(name)
            self._names.remove(name)
        return [number - before for before, number in enumerate(numbers)]  # each moves the later ones up

    def fetch(self, messages: Any, uid: bool) -> list[tuple[int, _Mail]]:
        """Each is read when its turn has come: others are answered between two of them."""
        there = set(self._house.store.names())
        return [
            (number, _Mail(self._house, name))
            for number, name in self._chosen(messages, uid)
            if name in there
        ]

    def store(self, messages: Any, flags: Iterable[str], mode: int, uid: bool) -> dict[int, list[str]]:
        """mode 1: these flags too, -1: without them, 0: these alone."""
        self._may_write()
        found = {}
        for number, name in self._chosen(messages, uid):
            had = self._house.flags(name)
            now = set(flags) if mode == 0 else had | set(flags) if mode > 0 else had - set(flags)
            self._house.mark(name, now)
            found[number] = sorted(now)
        return found

    def _may_write(self) -> None:
        if not self._rw:
            raise imap4.ReadOnlyMailbox("INBOX")

    def _chosen(self, messages: Any, uid: bool) -> Iterator[tuple[int, str]]:
        last = len(self._names)
        messages.last = self.getUID(last) if uid and last else last
        for number, name in enumerate(self._names, 1):
            if (self._house.uid(name) if uid else number) in messages:
                yield number, name


@implementer(imap4.IMessage)
class _Mail:
    """A mail, or the part of one."""

    def __init__(self, house: _House, name: str, part: Message | None = None) -> None:
        self._house, self._name, self._part = house, name, part

    @property
    def _raw(self) -> bytes:
        return self._house.load(self._name)[0] if self._part is None else b""

    @property
    def _message(self) -> Message:
        return self._house.load(self._name)[1] if self._part is None else self._part

    def getUID(self) -> int:
        return self._house.uid(self._name)

    def getFlags(self) -> list[str]:
        return sorted(self._house.flags(self._name))

    def getInternalDate(self) -> str:
        return email.utils.formatdate(int(self._name[:19]) / 1e9)

    def getHeaders(self, negate: bool, *names: str | bytes) -> dict[str, str]:
        wanted = {(name.decode() if isinstance(name, bytes) else name).lower() for name in names}
        return {
            name.lower(): str(value)
            for name, value in self._message.items()
            if (name.lower() in wanted) != negate
        }

    def getBodyFile(self) -> io.BytesIO:
        if self._raw:
            return io.BytesIO(self._raw.partition(b"\r\n\r\n")[2])
        text = self._message.get_payload()
        return io.BytesIO(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else b"")

    def getSize(self) -> int:
        return len(self._raw or self.getBodyFile().getvalue())

    def isMultipart(self) -> bool:
        return self._message.is_multipart()

    def getSubPart(self, number: int) -> _Mail:
        parts = self._message.get_payload()
        if not isinstance(parts, list):
            raise TypeError("not a mail of several parts")
        return _Mail(self._house, self._name, parts[number])  # type: ignore[arg-type]
