"""The inbox over IMAP, with Python's own client."""

from __future__ import annotations

import imaplib
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from harness import LocalContext, Runner, make_role
from test_mailbox import UNIT, receipt, send

from tierline.engines.mailbox.engine import ENGINE, PASSWORD
from tierline.errors import EngineError


@pytest.fixture
def inbox(line: Any) -> Iterator[LocalContext]:
    """Three mails: two for Ada, one for Bob; a balancer takes mail programs here."""
    runner: Runner = line(UNIT)
    balancer = make_role("lb.a", "lb", "haproxy", ("https",))
    balancer = msgspec.structs.replace(balancer, name="lb", tier="lb", settings={"mail": "receipts"})
    unit = msgspec.structs.replace(UNIT, id="lb", roles=(balancer,))
    runner.context.plan = msgspec.structs.replace(
        runner.context.plan, units=(*runner.context.plan.units, unit)
    )
    runner.start(ENGINE, UNIT)
    for subject, to in (("One", "ada@example.com"), ("Two", "bob@example.com"), ("Three", "ada@example.com")):
        send(runner.context, receipt(subject, to))
    yield runner.context


def login(context: LocalContext, user: str = "tierline", readonly: bool = False) -> imaplib.IMAP4:
    imap = imaplib.IMAP4(*context.address("receipts", "imap"), timeout=30)
    imap.login(user, context.secret(PASSWORD))
    imap.select("INBOX", readonly)
    return imap


def subjects(imap: imaplib.IMAP4) -> list[str]:
    _, found = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    text = b" ".join(each[1] for each in found if isinstance(each, tuple)).decode()
    return re.findall(r"ubject: (\w+)", text)


def test_everything_or_what_is_for_an_address(inbox: LocalContext) -> None:
    imap = login(inbox)
    assert subjects(imap) == ["One", "Two", "Three"]
    assert imap.list()[1][0].endswith(b'"INBOX"')  # type: ignore[union-attr]
    _, (told,) = imap.status("INBOX", "(MESSAGES UNSEEN UIDVALIDITY)")
    assert b"MESSAGES 3" in told and b"UNSEEN 3" in told  # type: ignore[operator]
    imap.logout()
    imap = login(inbox, "Ada@example.com")
    assert subjects(imap) == ["One", "Three"]
    imap.logout()


def test_a_mail_with_parts_and_search(inbox: LocalContext) -> None:
    imap = login(inbox)
    _, found = imap.fetch("2", "(FLAGS UID RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])")
    head, raw = found[0]  # type: ignore[misc]
    assert b"tickets.pdf" in head and b"BODYSTRUCTURE" in head
    assert b"Subject: Two" in raw
    _, found = imap.fetch("2", "(BODY.PEEK[1.1])")
    assert b"row 7" in found[0][1] or b"Z3Jvdy" in found[0][1] or found[0][1]  # type: ignore[index]
    assert imap.search(None, "SUBJECT", "Three")[1] == [b"3"]
    assert imap.search(None, "FROM", "box@cinema", "TO", "bob")[1] == [b"2"]
    assert imap.search(None, "HEADER", "Subject", "zzz")[1] in ([b""], [None])
    assert imap.search(None, "UNSEEN")[1] == [b"1 2 3"]
    imap.logout()


def test_marks_deletes_and_what_comes_meanwhile(inbox: LocalContext) -> None:
    imap = login(inbox)
    imap.store("1", "+FLAGS", "\\Seen")
    imap.store("2", "+FLAGS", "\\Deleted")
    assert imap.search(None, "UNSEEN")[1] == [b"2 3"]
    _, (uids,) = imap.fetch("3", "(UID)")
    assert imap.expunge()[1] == [b"2"]
    assert imap.fetch("2", "(UID)")[1][0].split()[2] == uids.split()[2]  # type: ignore[union-attr]
    send(inbox, receipt("Four"))
    imap.noop()
    assert subjects(imap) == ["One", "Three", "Four"]
    imap.logout()
    imap = login(inbox, readonly=True)
    with pytest.raises(imaplib.IMAP4.error, match="read-only"):
        imap.store("1", "+FLAGS", "\\Deleted")
    assert imap.create("Archive")[0] == "NO"
    imap.logout()


def test_who_does_not_know_the_password_sees_nothing(inbox: LocalContext) -> None:
    for user, password in (("tierline", "x"), ("root", inbox.secret(PASSWORD))):
        imap = imaplib.IMAP4(*inbox.address("receipts", "imap"), timeout=30)
        with pytest.raises(imaplib.IMAP4.error):
            imap.login(user, password)
        assert imap.state == "NONAUTH"
        imap.shutdown()


def test_without_twisted_it_says_how_to_install_it(
    inbox: LocalContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'tierline\[mail\]'"):
        ENGINE.processes(UNIT, inbox)
