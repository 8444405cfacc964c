"""What a buyer notices: tickets, a receipt, and that nothing is charged twice or lost."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from email import message_from_bytes
from typing import Any

import asyncpg
import httpx
import jwt
import pytest
from aiosmtpd.controller import Controller
from plain import serving

from cinema import orders
from cinema.postgres import Database
from cinema.queue import SQSQueue
from ports import free_port
from waiting import becomes

pytestmark = pytest.mark.real

WANTED = {"film_id": 20545, "seats": 2, "email": "ada@example.com"}


class Inbox:
    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refuse = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse:
            self.refuse -= 1
            return "451 not now"
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture(scope="module")
def mailbox() -> Iterator[tuple[str, Inbox]]:
    inbox, port = Inbox(), free_port()
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield f"smtp://127.0.0.1:{port}", inbox
    controller.stop()


@pytest.fixture
def environment(accounts: str, nats_url: str, mailbox: tuple[str, Inbox]) -> dict[str, str]:
    async def empty() -> None:
        connection = await asyncpg.connect(accounts)
        await connection.execute("truncate orders")
        await connection.close()

    asyncio.run(empty())
    mailbox[1].mails.clear()
    return {
        "DATABASE_URL": accounts,
        "NATS_URL": nats_url,
        "ORDERS_SUBJECT": "tickets",
        "SMTP_URL": mailbox[0],
    }


async def until(client: httpx.AsyncClient, location: str, status: str) -> dict[str, Any]:
    order: dict[str, Any] = {}

    async def reached() -> bool:
        order.update((await client.get(location)).json())
        return bool(order["status"] == status)

    assert await becomes(reached), order
    return order


def test_buying_tickets(environment: dict[str, str], mailbox: tuple[str, Inbox]) -> None:
    async def main() -> None:
        async with serving(orders.create(environment)) as client:
            answer = await client.post("/orders", json=WANTED)
            assert answer.status_code == 202
            order = answer.json()
            assert (order["total"], order["currency"], order["status"]) == ("25.00", "EUR", "placed")
            done = await until(client, answer.headers["location"], "receipted")
            assert done["paid_at"] and done["receipt_at"]
            (mail,) = mailbox[1].mails
            assert mail["To"] == "ada@example.com" and "25.00 EUR" in mail.get_payload()
            assert order["id"] in mail.get_payload()

    asyncio.run(main())


def test_an_order_is_its_members_own(environment: dict[str, str]) -> None:
    async def main() -> None:
        mine, other = (
            {"authorization": f"Bearer {jwt.encode({'sub': sub}, 'x' * 32)}"} for sub in ("7", "8")
        )
        async with serving(orders.create(environment)) as client:
            location = (await client.post("/orders", json=WANTED, headers=mine)).headers["location"]
            assert (await client.get(location, headers=mine)).status_code == 200
            assert (await client.get(location, headers=other)).status_code == 404

    asyncio.run(main())


def test_an_order_sent_twice_is_one_order(environment: dict[str, str], mailbox: tuple[str, Inbox]) -> None:
    async def main() -> None:
        async with serving(orders.create(environment)) as client:
            key = {"idempotency-key": str(uuid.uuid4())}
            answers = await asyncio.gather(
                *(client.post("/orders", json=WANTED, headers=key) for _ in range(5))
            )
            assert len({answer.json()["id"] for answer in answers}) == 1
            await until(client, answers[0].headers["location"], "receipted")
            assert (await client.post("/orders", json=WANTED, headers=key)).json()["status"] == "receipted"
            other = await client.post("/orders", json={**WANTED, "seats": 3}, headers=key)
            assert other.status_code == 422 and "another order" in other.json()["detail"]
            assert not await becomes(lambda: len(mailbox[1].mails) > 1, within=0.3)
            assert len(mailbox[1].mails) == 1

    asyncio.run(main())


def test_an_order_placed_while_nobody_works_is_worked_on_later(
    environment: dict[str, str], mailbox: tuple[str, Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the row and the message: the sweep of the next one finds it."""

    async def main() -> None:
        connection = await asyncpg.connect(environment["DATABASE_URL"])
        id = uuid.uuid4()
        await connection.execute(
            "insert into orders (id, film_id, seats, email, cents, created_at)"
            " values ($1, 1, 1, 'late@example.com', 1250, now() - interval '1 minute')",
            id,
        )
        await connection.close()
        async with serving(orders.create(environment)) as client:
            await until(client, f"/orders/{id}", "receipted")
        assert [mail["To"] for mail in mailbox[1].mails] == ["late@example.com"]

    asyncio.run(main())


def test_when_the_queue_is_away_the_order_is_still_taken(environment: dict[str, str]) -> None:
    class Away:
        async def send(self, body: bytes, *, id: str) -> None:
            raise OSError("away")

    async def main() -> None:
        async with Database(environment["DATABASE_URL"], name="test") as database:
            service = orders.Orders(database, Away(), None, "x@example.com")  # type: ignore[arg-type]
            order = await service.place(orders.Wanted(1, 1, "ada@example.com"), None, None)
            assert await service.read(uuid.UUID(order["id"])) == (None, order)

    asyncio.run(main())


def test_mail_that_is_refused_is_sent_again(
    environment: dict[str, str], mailbox: tuple[str, Inbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "AGAIN", 0.05)

    async def main() -> None:
        mailbox[1].refuse = 1
        async with serving(orders.create(environment)) as client:
            location = (await client.post("/orders", json=WANTED)).headers["location"]
            await until(client, location, "receipted")
            assert len(mailbox[1].mails) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    "change, field",
    [
        ({"seats": 0}, "seats"),
        ({"seats": 11}, "seats"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b"}, "email"),
        ({"email": "a@example.com\r\nBcc: b@example.com"}, "email"),
        ({"film_id": "1"}, "film_id"),
        ({"email": None}, "email"),
    ],
)
def test_nonsense_is_refused(environment: dict[str, str], change: dict[str, object], field: str) -> None:
    async def main() -> None:
        async with serving(orders.create(environment)) as client:
            answer = await client.post("/orders", json={**WANTED, **change})
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), answer.text
            assert (await client.get(f"/orders/{uuid.uuid4()}")).status_code == 404
            assert (await client.get("/orders/1")).status_code == 404

    asyncio.run(main())


def test_the_same_orders_through_sqs() -> None:
    """The requests that SQS would get, and what its answers mean."""
    calls: list[tuple[str, dict[str, Any]]] = []

    async def sqs(request: httpx.Request) -> httpx.Response:
        action = request.headers["x-amz-target"]
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")
        assert "/eu-west-1/sqs/aws4_request" in request.headers["authorization"]
        calls.append((action, json.loads(request.content)))
        if action == "AmazonSQS.ReceiveMessage":
            return httpx.Response(200, json={"Messages": [{"Body": "an-order", "ReceiptHandle": "r1"}]})
        if action == "AmazonSQS.ChangeMessageVisibility":
            return httpx.Response(400, text="ReceiptHandleIsInvalid")
        return httpx.Response(200, json={})

    async def main() -> None:
        environment = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "eu-west-1",
        }
        url = "https://sqs.eu-west-1.amazonaws.com/123/orders.fifo"
        queue = SQSQueue(url, environment, transport=httpx.MockTransport(sqs))
        await queue.send(b"an-order", id="an-order")
        (message,) = await queue.receive(20)
        assert message.body == b"an-order"
        await message.done()
        with pytest.raises(OSError, match="ReceiptHandleIsInvalid"):
            await message.again(5)
        await queue.close()

    asyncio.run(main())
    assert [action.partition(".")[2] for action, _ in calls] == [
        "SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility",
    ]  # fmt: skip
    sent = calls[0][1]
    assert (
        sent["QueueUrl"].endswith("/orders.fifo")
        and sent["MessageBody"] == "an-order"
        and sent["MessageDeduplicationId"]
    )
    assert calls[2][1]["ReceiptHandle"] == "r1"
