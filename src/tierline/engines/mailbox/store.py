"""Mails as files: one .eml each, whole or not there, named by arrival; and an index of what lists show of them.

The envelope stands in front of the message as the headers that mail servers add there, so that a file can
be opened by any mail program and nothing else must be kept. The index can be made from the files alone: what it lacks or
has too much after a kill is put right at the next start. All methods may be called from any thread.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

_NAME = re.compile(r"\d{19}-\d{6}")
_HEAD = 256 << 10
"""Bytes of a mail in which its header fields are looked for."""
_INDEX = "index.sqlite"


class Store:
    """The inbox's folder. keep: mails, most: bytes of all; the newest always stays."""

    def __init__(self, folder: Path, *, keep: int, most: int = 512 << 20) -> None:
        self.folder = folder
        self.keep = keep
        self.most = most
        self._counter = itertools.count()
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob("*.part"):  # what a kill interrupted was never acknowledged
            half.unlink()
        self._index = self._opened()
        self._reconcile()

    def _opened(self) -> sqlite3.Connection:
        path = self.folder / _INDEX
        with suppress(sqlite3.DatabaseError):
            return _connected(path)
        for broken in self.folder.glob(f"{_INDEX}*"):
            broken.unlink()
        return _connected(path)

    def _reconcile(self) -> None:
        """The index is what the folder holds."""
        there = {path.stem for path in self.folder.glob("*.eml") if _NAME.fullmatch(path.stem)}
        known = set(self.names())
        with self._index:
            self._index.executemany("delete from mail where name = ?", [(name,) for name in known - there])
            for name in sorted(there - known):
                with (self.folder / f"{name}.eml").open("rb") as file:
                    self._note(name, file.read(_HEAD), os.fstat(file.fileno()).st_size)

    def _note(self, name: str, head: bytes, size: int) -> None:
        one = summary(name, head, size)
        recipients = "\n".join(each.lower() for each in one["recipients"])
        row = (name, size, f"\n{recipients}\n", json.dumps(one))
        self._index.execute("insert or replace into mail values (?, ?, ?, ?)", row)

    def add(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """The new mail's name. It is on the disk when this returns: the sender is told so."""
        name = f"{time.time_ns():019d}-{next(self._counter) % 1_000_000:06d}"
        envelope = "".join(f"Delivered-To: {recipient}\r\n" for recipient in recipients)
        raw = f"Return-Path: <{sender}>\r\n{envelope}".encode("utf-8", "surrogateescape") + content
        part, path = self.folder / f"{name}.part", self.folder / f"{name}.eml"
        with part.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        with self._lock, self._index:
            self._note(name, raw[:_HEAD], len(raw))
        self._bound()
        return name

    def _bound(self) -> None:
        """The oldest go: those that are too many, and those that are too much."""
        size = 0
        for number, (name, more) in enumerate(self._rows("select name, size from mail order by name desc")):
            size += more
            if number and (number >= self.keep or size > self.most):
                self.remove(name)

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._index.execute(query, values).fetchall()

    def names(self, recipient: str = "") -> list[str]:
        """All mails, the oldest first; of one recipient if given."""
        return [name for name, _ in self.sizes(recipient)]

    def sizes(self, recipient: str = "") -> list[tuple[str, int]]:
        """Names and bytes of all mails, the oldest first; of one recipient if given."""
        query, values = _for("select name, size from mail", recipient)
        return self._rows(f"{query} order by name", *values)

    def read(self, name: str) -> bytes | None:
        """The mail as it came, or None."""
        if not _NAME.fullmatch(name):
            return None
        try:
            return (self.folder / f"{name}.eml").read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> bool:
        if not _NAME.fullmatch(name):
            return False
        there = True
        try:
            (self.folder / f"{name}.eml").unlink()
        except FileNotFoundError:
            there = False
        with self._lock, self._index:
            self._index.execute("delete from mail where name = ?", (name,))
        return there

    def clear(self) -> int:
        return sum(self.remove(name) for name in self.names())

    def newest(self, limit: int, recipient: str = "") -> Iterator[dict[str, Any]]:
        """Summaries, the newest first; of one recipient if given."""
        query, values = _for("select about from mail", recipient)
        for (about,) in self._rows(f"{query} order by name desc limit ?", *values, limit):
            yield json.loads(about)


def _connected(path: Path) -> sqlite3.Connection:
    made = sqlite3.connect(path, check_same_thread=False)
    # What a power cut takes from the index is found again in the folder.
    made.execute("pragma journal_mode = wal")
    made.execute("pragma synchronous = off")
    made.execute(
        "create table if not exists mail (name text primary key, size int, recipients text, about text)"
    )
    return made


def _for(query: str, recipient: str) -> tuple[str, tuple[str, ...]]:
    if not recipient:
        return query, ()
    return f"{query} where instr(recipients, ?)", (f"\n{recipient.lower()}\n",)


def summary(name: str, raw: bytes, size: int) -> dict[str, Any]:
    """What a list shows of a mail. raw: its beginning at least; size: of the whole."""
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    mail = _parsed(head)
    return {
        "id": name,
        "received": int(name[:19]) / 1e9,
        "sender": _field(mail, "Return-Path").strip("<> "),
        "recipients": [str(one) for one in mail.get_all("Delivered-To", [])],
        "from": _field(mail, "From"),
        "to": _field(mail, "To"),
        "subject": _field(mail, "Subject"),
        "size": size,
    }


def _field(mail: EmailMessage, name: str) -> str:
    try:
        return str(mail[name] or "")
    except Exception:  # the parser of a field gives up on some that are no fields at all, in many ways
        return ""


def detail(name: str, raw: bytes) -> dict[str, Any]:
    """A mail with its texts and the list of its attachments."""
    mail = _parsed(raw)
    texts: dict[str, str] = {"text": "", "html": ""}
    for kind, key in (("plain", "text"), ("html", "html")):
        part = mail.get_body((kind,))
        if part is not None:
            try:
                texts[key] = part.get_content()
            except (LookupError, KeyError):  # a charset or type that nobody knows
                texts[key] = str(part.get_payload())
    attachments = [
        {"name": part.get_filename() or "", "type": part.get_content_type()}
        for part in mail.iter_attachments()
    ]
    return summary(name, raw, len(raw)) | texts | {"attachments": attachments}


def _parsed(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.default)
