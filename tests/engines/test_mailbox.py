"""The inbox, started for real and used by smtplib and httpx."""

from __future__ import annotations

import os
import smtplib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import LocalContext, Runner, make_role, make_unit, memory

from tierline.engines.base import Engine
from tierline.engines.mailbox.engine import ENGINE, PASSWORD, TOKEN, USER
from tierline.engines.mailbox.store import Store
from waiting import eventually

UNIT = make_unit(
    "mailbox", make_role("receipts", "feature.mail", "mailbox", ("smtp", "pop3", "imap", "http"))
)


def receipt(subject: str = "Your tickets", to: str = "ada@example.com") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Cinema <box@cinema.test>", to, subject
    mail.set_content("Two seats, row 7. Grüße!")
    mail.add_alternative("<p>Two seats</p>", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="tickets.pdf")
    return mail


def send(context: LocalContext, mail: EmailMessage, password: str | None = None) -> None:
    with smtplib.SMTP(*context.address("receipts", "smtp"), timeout=30) as smtp:
        smtp.login(USER, password or context.secret(PASSWORD))
        smtp.send_message(mail)


def web(context: LocalContext) -> httpx.Client:
    host, port = context.address("receipts", "http")
    return httpx.Client(
        base_url=f"http://{host}:{port}", headers={"Authorization": f"Bearer {context.secret(TOKEN)}"}
    )


def test_it_is_an_engine() -> None:
    engine: Engine = ENGINE
    assert engine.binary().path
    assert ENGINE.version()


def test_mail_arrives_and_survives_a_crash(line: Any) -> None:
    runner: Runner = line(UNIT)
    (process,) = runner.start(ENGINE, UNIT)
    send(runner.context, receipt())
    send(runner.context, receipt("<script>alert(1)</script>", "bob@example.com"))
    with web(runner.context) as client:
        newest, oldest = client.get("/api/mails").json()["mails"]
        assert (oldest["subject"], oldest["recipients"]) == ("Your tickets", ["ada@example.com"])
        assert oldest["sender"] == "box@cinema.test"
        assert newest["recipients"] == ["bob@example.com"]
        assert "<script>" not in client.get("/").text
        assert "&lt;script&gt;" in client.get("/").text
    used = memory(runner.running["mailbox"].pid)
    print(runner.took, used)
    assert used < 35
    runner.kill("mailbox")
    runner.context.move()
    runner.start(ENGINE, UNIT)
    with web(runner.context) as client:
        (mail,) = client.get("/api/mails", params={"recipient": "ADA@example.com"}).json()["mails"]
        whole = client.get(f"/api/mails/{mail['id']}").json()
        assert whole["text"].strip() == "Two seats, row 7. Grüße!"
        assert whole["html"].strip() == "<p>Two seats</p>"
        assert whole["attachments"] == [{"name": "tickets.pdf", "type": "application/pdf"}]
        assert b"Subject: Your tickets" in client.get(f"/api/mails/{mail['id']}.eml").content
        assert client.delete(f"/api/mails/{mail['id']}").json() == {"removed": 1}
        assert client.delete("/api/mails").json() == {"removed": 1}
        assert client.get("/api/mails").json() == {"mails": []}
    with smtplib.SMTP(*runner.context.address("receipts", "smtp"), timeout=30):
        assert runner.stop(process) < process.stop_timeout, "by force"


def test_what_is_refused(line: Any) -> None:
    unit = make_unit(
        "mailbox",
        make_role("receipts", "feature.mail", "mailbox", ("smtp", "http"), settings={"max_size": 2000}),
    )
    runner: Runner = line(unit)
    runner.start(ENGINE, unit)
    with pytest.raises(smtplib.SMTPAuthenticationError):
        send(runner.context, receipt(), password="wrong")
    with (
        smtplib.SMTP(*runner.context.address("receipts", "smtp"), timeout=30) as smtp,
        pytest.raises(smtplib.SMTPException),
    ):
        smtp.sendmail("a@example.com", ["b@example.com"], "Subject: no password\r\n\r\n")
    with pytest.raises(smtplib.SMTPResponseException):
        mail = receipt()
        mail.add_attachment(b"x" * 5000, maintype="application", subtype="pdf")
        send(runner.context, mail)
    with web(runner.context) as client:
        assert client.get("/api/mails").json() == {"mails": []}
        assert client.get("/api/mails/../../secrets").status_code == 404
        assert client.get("/api/mails/%2e%2e%2fmailbox.json").status_code == 404
        assert client.get("/api/mails?limit=x").status_code == 400
        assert client.post("/api/mails").status_code == 405
        assert client.get("/api/mails", headers={"Authorization": "Bearer no"}).status_code == 401
        assert client.get("/health", headers={"Authorization": ""}).status_code == 200
    with socket.create_connection(runner.context.address("receipts", "http")) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert b"400" in sock.recv(1000)


def test_without_a_password_and_a_short_memory(line: Any) -> None:
    settings = {"auth": False, "keep": 2}
    unit = make_unit(
        "mailbox", make_role("receipts", "feature.mail", "mailbox", ("smtp", "http"), settings=settings)
    )
    runner: Runner = line(unit)
    runner.start(ENGINE, unit)
    with smtplib.SMTP(*runner.context.address("receipts", "smtp"), timeout=30) as smtp:
        for number in range(3):
            smtp.send_message(receipt(f"number {number}"))
    with web(runner.context) as client:
        subjects = [mail["subject"] for mail in client.get("/api/mails").json()["mails"]]
    assert subjects == ["number 2", "number 1"]


def test_the_oldest_mails_go_when_they_are_too_many_or_too_much(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=3, most=2500)
    names = [store.add("a@example.com", ["b@example.com"], b"x" * size) for size in (10, 10, 10, 10)]
    assert store.names() == names[1:]
    large = store.add("a@example.com", ["b@example.com"], b"x" * 2400)
    assert store.names() == [large]
    larger = store.add("a@example.com", ["b@example.com"], b"x" * 9000)
    assert store.names() == [larger], "the newest is there whatever its size"


def test_mail_is_taken_while_a_thousand_large_ones_are_listed(line: Any) -> None:
    runner: Runner = line(UNIT)
    (process,) = runner.start(ENGINE, UNIT)
    send(runner.context, receipt())
    runner.stop(process)
    (folder,) = {path.parent for path in runner.context.root.glob("data/**/*.eml")}
    (first,) = folder.glob("*.eml")
    first.write_bytes(first.read_bytes() + b"x" * (1 << 20))
    for number in range(1000):  # as if they had come before there was an index
        os.link(first, folder / f"{number:019d}-000000.eml")
    runner.start(ENGINE, UNIT)
    done = threading.Event()
    listed: list[int] = []

    def look() -> None:
        with web(runner.context) as client:
            while not done.is_set():
                listed.append(len(client.get("/api/mails?limit=1000").json()["mails"]))
                assert client.get("/").status_code == 200

    with ThreadPoolExecutor(3) as pool:
        looking = [pool.submit(look) for _ in range(3)]
        try:
            assert eventually(lambda: len(listed) > 3)
            for number in range(10):
                send(runner.context, receipt(f"number {number}"))  # each answer within smtplib's 5 s
        finally:
            done.set()
        for each in looking:
            each.result()
    assert max(listed) >= 500
    with web(runner.context) as client:
        assert client.get("/api/mails").json()["mails"][0]["subject"] == "number 9"


def test_the_index_is_put_right_with_the_folder_and_made_anew_when_it_is_broken(tmp_path: Path) -> None:
    store = Store(tmp_path, keep=10)
    names = [
        store.add("a@b.test", [f"{who}@b.test"], b"Subject: s\r\n\r\nx") for who in ("ada", "Bob", "eve")
    ]
    (tmp_path / f"{names[0]}.eml").unlink()
    again = Store(tmp_path, keep=10)
    assert again.names() == names[1:]
    assert again.names("BOB@b.test") == [names[1]]
    for broken in (b"not a database", b""):
        for file in tmp_path.glob("index.sqlite*"):
            file.unlink()
        (tmp_path / "index.sqlite").write_bytes(broken * 100)
        assert [one["id"] for one in Store(tmp_path, keep=10).newest(5)] == names[:0:-1]


def test_a_page_under_a_name_of_somebody_else_gets_no_mail(line: Any) -> None:
    runner: Runner = line(UNIT)
    runner.start(ENGINE, UNIT)
    port = runner.context.address("receipts", "http")[1]
    with web(runner.context) as client:
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            f"127.0.0.1:{port + 1}",
        ):
            assert client.get("/api/mails", headers={"Host": host}).status_code == 403, host
        assert client.get("/api/mails", headers={"Host": f"localhost:{port}"}).status_code == 200
        answer = client.get("/", params={"token": runner.context.secret(TOKEN)})
        assert "set-cookie" not in answer.headers, "a cookie is every port's"
