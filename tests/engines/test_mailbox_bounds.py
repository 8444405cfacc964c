"""The inbox's bounds: how many may be connected, and how long they may say nothing. In each protocol's own words."""

from __future__ import annotations

import contextlib
import imaplib
import json
import poplib
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from test_mailbox import receipt

from tierline.engines.mailbox.doors import IDLE, MOST
from waiting import PATIENCE, eventually

PASSWORD = "secret"
GREETS = {"smtp": b"220 ", "pop3": b"+OK ", "imap": b"* OK "}
REFUSES = {"smtp": b"421 4.3.2 ", "pop3": b"-ERR [SYS/TEMP] ", "imap": b"* BYE [UNAVAILABLE] "}
PROTOCOLS = sorted(GREETS)


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Inbox:
    def __init__(self, folder: Path, **bounds: float) -> None:
        self.ports = {name: free() for name in (*PROTOCOLS, "http")}
        self.mails = folder / "mails"
        config = {
            **{name: ["127.0.0.1", port] for name, port in self.ports.items()}, "folder": str(self.mails),
            "token": "token", "user": "tierline", "password": PASSWORD, "max_size": 1_000_000, "keep": 10, **bounds,
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        argv = [sys.executable, "-m", "tierline.engines.mailbox", str(folder / "config.json")]
        self.process = subprocess.Popen(argv)
        assert eventually(self._healthy)

    def _healthy(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.ports['http']}/health").status_code > 0
        return False

    def connect(self, protocol: str, address: str = "127.0.0.1") -> tuple[socket.socket, bytes]:
        """A connection from an address of this machine, and what it is greeted with."""
        made = socket.create_connection(
            ("127.0.0.1", self.ports[protocol]), timeout=PATIENCE, source_address=(address, 0)
        )
        return made, made.recv(1000)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbox]:
    made = Inbox(tmp_path_factory.mktemp("crowded"), most=4, each=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbox]:
    made = Inbox(tmp_path_factory.mktemp("silent"), idle=1)
    yield made
    made.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_more_than_there_may_be_is_sent_away(crowded: Inbox, protocol: str) -> None:
    inside = []
    for address in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.3"):
        made, greeting = crowded.connect(protocol, address)
        assert greeting.startswith(GREETS[protocol])
        inside.append(made)
    refused, greeting = crowded.connect(protocol, "127.0.0.4")
    assert greeting.startswith(REFUSES[protocol] + b"too many connections, try again later"), greeting
    assert refused.recv(1000) == b"", "and the connection is over"
    # Who leaves makes room, whatever way it leaves.
    inside.pop().close()

    def let_in() -> socket.socket | None:
        again, greeting = crowded.connect(protocol, "127.0.0.4")
        return again if greeting.startswith(GREETS[protocol]) else None

    again = eventually(let_in)
    assert again
    for each in (*inside, again):
        each.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_address_leaves_room_for_others(crowded: Inbox, protocol: str) -> None:
    inside: list[socket.socket] = []

    def two_inside() -> bool:
        made, greeting = crowded.connect(protocol, "127.0.0.9")
        if greeting.startswith(GREETS[protocol]):
            inside.append(made)
        return len(inside) == 2

    assert eventually(two_inside)
    _, greeting = crowded.connect(protocol, "127.0.0.9")
    assert greeting.startswith(REFUSES[protocol]) and b"from your address" in greeting
    other, greeting = crowded.connect(protocol, "127.0.0.8")
    assert greeting.startswith(GREETS[protocol])
    for each in (*inside, other):
        each.close()


def test_programs_understand_the_refusal(crowded: Inbox) -> None:
    inside = [crowded.connect(protocol, "127.0.0.1")[0] for protocol in PROTOCOLS for _ in range(2)]
    with pytest.raises(poplib.error_proto, match="too many connections"):
        poplib.POP3("127.0.0.1", crowded.ports["pop3"], timeout=PATIENCE)
    with pytest.raises(imaplib.IMAP4.error, match="too many connections"):
        imaplib.IMAP4("127.0.0.1", crowded.ports["imap"], timeout=PATIENCE)
    with pytest.raises(smtplib.SMTPConnectError) as told:
        smtplib.SMTP("127.0.0.1", crowded.ports["smtp"], timeout=PATIENCE)
    assert told.value.smtp_code == 421
    for each in inside:
        each.close()


def test_who_says_nothing_is_let_go_and_deletes_nothing(silent: Inbox) -> None:
    with smtplib.SMTP("127.0.0.1", silent.ports["smtp"], timeout=PATIENCE) as smtp:
        smtp.login("tierline", PASSWORD)
        smtp.send_message(receipt())
    pop = poplib.POP3("127.0.0.1", silent.ports["pop3"], timeout=PATIENCE)
    pop.user("tierline")
    pop.pass_(PASSWORD)
    pop.dele(1)
    imap = imaplib.IMAP4("127.0.0.1", silent.ports["imap"], timeout=PATIENCE)
    imap.login("tierline", PASSWORD)
    assert pop.sock.recv(100) == b""
    assert imap.sock.recv(100).startswith(b"* BYE Autologout")
    assert len(list(silent.mails.glob("*.eml"))) == 1, "RFC 1939, 3: an autologout removes no mail"
    made, _ = silent.connect("smtp")
    assert b"421" in made.recv(100) or made.recv(100) == b""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_bounds_are_what_the_protocols_ask_for(protocol: str) -> None:
    assert IDLE[protocol] >= {"smtp": 300, "pop3": 600, "imap": 1800}[protocol]
    assert 32 <= MOST[protocol] <= 1000


def established(port: int, client: int) -> bool:
    """Whether the server's end of a connection is still open."""
    ends = f"0100007F:{port:04X} 0100007F:{client:04X} 01"
    return ends in Path("/proc/net/tcp").read_text()


def test_who_does_not_read_is_let_go(silent: Inbox) -> None:
    """It asks for the same mail again and again, and takes none of the answers."""
    with smtplib.SMTP("127.0.0.1", silent.ports["smtp"], timeout=PATIENCE) as smtp:
        smtp.login("tierline", PASSWORD)
        mail = receipt()
        mail.add_attachment(b"x" * 500_000, maintype="application", subtype="pdf")
        smtp.send_message(mail)
    made, _ = silent.connect("pop3")
    made.sendall(b"USER tierline\r\nPASS secret\r\n")
    made.sendall(b"RETR 2\r\n" * 100)
    here = made.getsockname()[1]
    assert eventually(lambda: not established(silent.ports["pop3"], here))
    received = 0
    with contextlib.suppress(ConnectionResetError):
        while more := made.recv(1 << 20):
            received += len(more)
    assert received < 40_000_000, "what the kernel had taken, not all 67 MB that were asked for"
