"""Mails as files: one .eml each, whole or not there, named by arrival.

The envelope stands in front of the message as the headers that mail servers add there, so that a file can
be opened by any mail program and nothing else must be kept.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

_NAME = re.compile(r"\d{19}-\d{6}")


class Store:
    """The inbox's folder. keep: mails, most: bytes of all; the newest always stays."""

    def __init__(self, folder: Path, *, keep: int, most: int = 512 << 20) -> None:
        self.folder = folder
        self.keep = keep
        self.most = most
        self._counter = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob("*.part"):  # what a kill interrupted was never acknowledged
            half.unlink()

    def add(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """The new mail's name. It is on the disk when this returns: the sender is told so."""
        name = f"{time.time_ns():019d}-{next(self._counter) % 1_000_000:06d}"
        envelope = "".join(f"Delivered-To: {recipient}\r\n" for recipient in recipients)
        part, path = self.folder / f"{name}.part", self.folder / f"{name}.eml"
        with part.open("wb") as file:
            file.write(f"Return-Path: <{sender}>\r\n{envelope}".encode("utf-8", "surrogateescape") + content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        self._bound()
        return name

    def _bound(self) -> None:
        """The oldest go: those that are too many, and those that are too much."""
        names = self.names()
        for old in names[: -self.keep]:
            self.remove(old)
        size = 0
        for each in reversed(names[-self.keep :]):
            with suppress(FileNotFoundError):
                size += (self.folder / f"{each}.eml").stat().st_size
            if size > self.most and each != names[-1]:
                self.remove(each)

    def names(self) -> list[str]:
        """All mails, the oldest first."""
        return sorted(path.stem for path in self.folder.glob("*.eml"))

    def read(self, name: str) -> bytes | None:
        """The mail as it came, or None."""
        if not _NAME.fullmatch(name):
            return None
        try:
            return (self.folder / f"{name}.eml").read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> bool:
        if not _NAME.fullmatch(name) or not (path := self.folder / f"{name}.eml").exists():
            return False
        path.unlink(missing_ok=True)
        return True

    def clear(self) -> int:
        return sum(self.remove(name) for name in self.names())

    def newest(self, limit: int, recipient: str = "") -> Iterator[dict[str, Any]]:
        """Summaries, the newest first; of one recipient if given."""
        found = 0
        for name in reversed(self.names()):
            if found >= limit:
                return
            if (raw := self.read(name)) is None:
                continue
            one = summary(name, raw)
            if recipient and recipient.lower() not in (address.lower() for address in one["recipients"]):
                continue
            found += 1
            yield one


def summary(name: str, raw: bytes) -> dict[str, Any]:
    """What a list shows of a mail."""
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    mail = _parsed(head)
    return {
        "id": name,
        "received": int(name[:19]) / 1e9,
        "sender": str(mail["Return-Path"] or "").strip("<> "),
        "recipients": [str(one) for one in mail.get_all("Delivered-To", [])],
        "from": str(mail["From"] or ""),
        "to": str(mail["To"] or ""),
        "subject": str(mail["Subject"] or ""),
        "size": len(raw),
    }


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
    return summary(name, raw) | texts | {"attachments": attachments}


def _parsed(raw: bytes) -> EmailMessage:
    return message_from_bytes(raw, policy=policy.default)
