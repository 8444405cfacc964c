"""The inbox over POP3, with Python's own client and with bytes."""

from __future__ import annotations

import contextlib
import poplib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from harness import LocalContext
from test_mailbox import UNIT, receipt, send

from tierline.engines.mailbox.engine import ENGINE, PASSWORD


@pytest.fixture
def inbox(line: Any) -> Iterator[LocalContext]:
    """Three mails: two for Ada, one for Bob."""
    runner = line(UNIT)
    runner.start(ENGINE, UNIT)
    for subject, to in (("One", "ada@example.com"), ("Two", "bob@example.com"), ("Three", "ada@example.com")):
        send(runner.context, receipt(subject, to))
    yield runner.context


def login(context: LocalContext, user: str = "tierline") -> poplib.POP3:
    pop = poplib.POP3(*context.address("receipts", "pop3"), timeout=30)
    pop.user(user)
    pop.pass_(context.secret(PASSWORD))
    return pop


def subject(pop: poplib.POP3, number: int) -> str:
    return next(
        line.decode() for line in pop.top(number, 0)[1] if line.lower().startswith(b"subject:")
    ).removeprefix("Subject: ")


def test_everything_or_what_is_for_an_address(inbox: LocalContext) -> None:
    pop = login(inbox)
    assert [subject(pop, number) for number in (1, 2, 3)] == ["One", "Two", "Three"]
    count, size = pop.stat()
    assert (count, size) == (3, sum(int(line.split()[1]) for line in pop.list()[1]))
    assert {"TOP", "UIDL", "USER"} <= set(pop.capa())
    pop.quit()
    pop = login(inbox, "Ada@example.com")
    assert [subject(pop, number) for number in (1, 2)] == ["One", "Three"]
    pop.quit()


def test_deleted_at_the_end_and_only_then(inbox: LocalContext) -> None:
    pop = login(inbox)
    names = pop.uidl()[1]
    pop.dele(1)
    pop.dele(2)
    with pytest.raises(poplib.error_proto, match="deleted"):
        pop.retr(1)
    assert pop.stat()[0] == 1
    pop.rset()
    pop.dele(2)
    other = login(inbox)
    assert other.stat()[0] == 3
    pop.quit()
    with pytest.raises(poplib.error_proto, match="somebody else"):
        other.retr(2)
    other.quit()
    pop = login(inbox)
    assert [line.split()[1] for line in pop.uidl()[1]] == [names[0].split()[1], names[2].split()[1]]
    pop.close()


def test_who_does_not_know_the_password_sees_nothing(inbox: LocalContext) -> None:
    for user, password in (("tierline", "x"), ("root", inbox.secret(PASSWORD)), ("", "")):
        pop = poplib.POP3(*inbox.address("receipts", "pop3"), timeout=30)
        with pytest.raises(poplib.error_proto, match="log in"):
            pop.stat()
        pop.user(user)
        with pytest.raises(poplib.error_proto, match="AUTH"):
            pop.pass_(password)
        pop.close()
    with socket.create_connection(inbox.address("receipts", "pop3"), timeout=30) as sock:
        sock.sendall(b"USER tierline\r\n" + b"PASS x\r\n" * 5)
        said = b""
        while chunk := sock.recv(4096):
            said += chunk
        assert said.count(b"-ERR") == 3, "three tries and no more"


@pytest.mark.parametrize("said", [b"RETR 0", b"RETR 9", b"RETR x", b"DELE", b"TOP 1", b"TOP 1 -1", b"LIST 99999999999999",
                                  b"RETR 0000000015000", b"", b"\xff\xfe", b"STAT\x00", b"XYZZY"])  # fmt: skip
def test_nonsense_is_refused_and_the_session_goes_on(inbox: LocalContext, said: bytes) -> None:
    with socket.create_connection(inbox.address("receipts", "pop3"), timeout=30) as sock:
        file = sock.makefile("rwb")
        file.write(
            b"USER tierline\r\nPASS " + inbox.secret(PASSWORD).encode() + b"\r\n" + said + b"\r\nNOOP\r\n"
        )
        file.flush()
        lines = [file.readline() for _ in range(5)]
    assert lines[3].startswith(b"-ERR")
    assert lines[4] == b"+OK\r\n"


def test_a_line_without_an_end_ends_the_session(inbox: LocalContext) -> None:
    with socket.create_connection(inbox.address("receipts", "pop3"), timeout=30) as sock:
        sock.sendall(b"USER " + b"x" * 5000)
        sock.settimeout(5)
        assert sock.recv(100) == b"+OK tierline\r\n"
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
