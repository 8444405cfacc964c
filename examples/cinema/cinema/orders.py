"""Orders: tickets. An order is a row first, then a message; a worker charges it and mails the receipt.

Nothing acknowledged is lost: the row is there before the answer, and a message that was not sent (the queue
was away, the process died) is found by the sweep and sent again. Each step of the work can run twice without
harm.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import SMTP
from typing import Annotated, Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cinema.mail import Mail
from cinema.postgres import Database
from cinema.queue import Message, Queue, Unavailable, queue
from cinema.web import Problem, application, body, invalid, json, not_found, subject

log = logging.getLogger("cinema.orders")

SEAT_CENTS = 1250
SWEEP = 10.0
AGAIN = 5.0
ADDRESS = re.compile(r"[^@\s,;<>()\[\]\"\\]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


class Wanted(msgspec.Struct):
    film_id: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    seats: Annotated[int, msgspec.Meta(ge=1, le=10)]
    email: Annotated[str, msgspec.Meta(max_length=254)]


def create(environment: Mapping[str, str]) -> Starlette:
    environment = dict(environment)
    orders: Orders
    catalog: Any = None
    if "CATALOG_URL" in environment:
        # In the same process this is a function call, elsewhere HTTP over pooled connections.
        from tierline.resources import service

        catalog = service("catalog", timeout=1.0)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal orders
        smtp = environment.get("SMTP_URL")
        if not smtp:
            log.warning("no SMTP_URL: orders are charged, receipts are not sent")
        messages = queue(environment, "orders")
        await messages.open()
        async with Database(environment.get("DATABASE_URL"), name="orders") as database:
            sender = environment.get("MAIL_FROM", "tickets@cinema.test")
            orders = Orders(database, messages, Mail(smtp) if smtp else None, sender, catalog)
            async with orders.working():
                yield
        await messages.close()

    async def place(request: Request) -> Response:
        wanted = await body(request, Wanted)
        if not wanted.email.isascii() or not ADDRESS.fullmatch(wanted.email):
            raise invalid("email", "must be an address such as ada@example.com")
        key = request.headers.get("idempotency-key")
        if key is not None and not 1 <= len(key) <= 128:
            raise invalid("idempotency-key", "must have 1 to 128 characters")
        order = await orders.place(wanted, key, subject(request))
        return json(order, 202, {"location": f"/orders/{order['id']}"})

    async def read(request: Request) -> Response:
        given = request.path_params["order_id"]
        try:
            id = uuid.UUID(given)
        except ValueError:
            raise not_found(f"there is no order {given!r}") from None
        owner, order = await orders.read(id)
        caller = subject(request)
        if order is None or (caller is not None and owner not in (None, caller)):
            # Not for any cache to keep, and the same answer for what does not exist and what is not one's own.
            raise Problem(404, "Not found", f"there is no order {id}")
        return json(order)

    return application(
        [Route("/orders", place, methods=["POST"]), Route("/orders/{order_id}", read)],
        lifespan,
        lambda: orders.database.check(),
    )


class Orders:
    def __init__(
        self, database: Database, messages: Queue, mail: Mail | None, sender: str, catalog: Any = None
    ) -> None:
        self.database = database
        self.messages = messages
        self.mail = mail
        self.sender = sender
        self.catalog = catalog

    async def place(self, wanted: Wanted, key: str | None, member: str | None) -> dict[str, Any]:
        row = await self.database.row(
            "insert into orders (id, key, member, film_id, seats, email, cents)"
            " values ($1, $2, $3, $4, $5, $6, $7)"
            # An update that changes nothing: the row of the first time comes back.
            " on conflict (key) do update set key = excluded.key returning *",
            uuid.uuid4(), key, member, wanted.film_id, wanted.seats, wanted.email, wanted.seats * SEAT_CENTS,
        )  # fmt: skip
        assert row is not None
        if (row["film_id"], row["seats"], row["email"], row["member"]) != (
            wanted.film_id,
            wanted.seats,
            wanted.email,
            member,
        ):
            raise Problem(422, "Key used before", "this Idempotency-Key belongs to another order")
        if row["status"] == "placed":
            try:
                # The buyer need not wait for a queue that is away: the sweep does.
                async with asyncio.timeout(0.5):
                    await self.messages.send(str(row["id"]).encode(), id=str(row["id"]))
            except Unavailable as error:
                log.warning("the queue is away, order %s will be sent later: %r", row["id"], error)
        return _order(row)

    async def read(self, id: uuid.UUID) -> tuple[str | None, dict[str, Any] | None]:
        """Whose order it is, and the order."""
        row = await self.database.row("select * from orders where id = $1", id)
        return (None, None) if row is None else (row["member"], _order(row))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """While inside, messages are handled. On the way out the ones in hand are finished."""
        stopping = asyncio.Event()
        work = asyncio.create_task(self._work(stopping))
        sweep = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            stopping.set()
            sweep.cancel()
            _, late = await asyncio.wait([work, sweep], timeout=2)
            for task in late:
                task.cancel()

    async def _work(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            receiving = asyncio.create_task(self.messages.receive(20))
            stop = asyncio.create_task(stopping.wait())
            await asyncio.wait([receiving, stop], return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not receiving.done():
                receiving.cancel()
                return
            try:
                await asyncio.gather(*(self._handle(message) for message in receiving.result()))
            except Unavailable as error:
                log.warning("the queue is away, trying again: %r", error)
                await asyncio.sleep(1)

    async def _handle(self, message: Message) -> None:
        try:
            await self._fulfil(uuid.UUID(message.body.decode()))
        except Exception:
            log.exception("order %r failed; it will be tried again", message.body)
            await message.again(AGAIN)
        else:
            await message.done()

    async def _fulfil(self, id: uuid.UUID) -> None:
        # Where a payment provider would be asked, with the order's id as the idempotency key.
        await self.database.execute(
            "update orders set status = 'paid', paid_at = now() where id = $1 and status = 'placed'", id
        )
        row = await self.database.row("select * from orders where id = $1", id)
        if row is None:
            log.error("a message about order %s, which does not exist", id)
        elif row["status"] == "paid" and self.mail is not None:
            await self.mail.send(_receipt(row, self.sender, await self._title(row["film_id"])))
            await self.database.execute(
                "update orders set status = 'receipted', receipt_at = now()"
                " where id = $1 and status = 'paid'",
                id,
            )

    async def _title(self, film_id: int) -> str:
        """What a buyer calls the film. A receipt doesn't wait for a catalog that is away."""
        if self.catalog is not None:
            try:
                found = await self.catalog.get("/films/{id}", id=film_id, allow=(404,))
                if found.status == 200:
                    return str(found.json()["title"])
            except Exception as error:
                log.warning("the catalog doesn't say what film %s is called: %r", film_id, error)
        return str(film_id)

    async def _sweep(self) -> None:
        """Send again what has waited for too long."""
        waiting = ["placed", "paid"] if self.mail else ["placed"]
        while True:
            try:
                rows = await self.database.fetch(
                    "select id from orders where status <> 'receipted' and status = any($1)"
                    " and created_at < now() - interval '10 seconds' order by created_at limit 100",
                    waiting,
                )
                for row in rows:
                    # Another message than the first one, but one per minute however many processes sweep.
                    await self.messages.send(
                        str(row["id"]).encode(), id=f"{row['id']}/{time.time() // 60:.0f}"
                    )
            except Exception as error:
                log.warning("sweeping orders failed, trying again: %r", error)
            await asyncio.sleep(SWEEP)


def _order(row: Any) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "film_id": row["film_id"],
        "seats": row["seats"],
        "email": row["email"],
        "total": f"{row['cents'] / 100:.2f}",
        "currency": "EUR",
        "status": row["status"],
        "created_at": row["created_at"],
        "paid_at": row["paid_at"],
        "receipt_at": row["receipt_at"],
    }


def _receipt(row: Any, sender: str, title: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = f"Cinema <{sender}>"
    message["To"] = row["email"]
    message["Subject"] = f"Your tickets, order {str(row['id'])[:8]}"
    # The same each time: a mailbox that gets a receipt twice shows it once.
    message["Message-ID"] = f"<{row['id']}@{sender.rpartition('@')[2]}>"
    seats = "1 seat" if row["seats"] == 1 else f"{row['seats']} seats"
    message.set_content(
        f"Thank you for your order.\n\n"
        f"  Film     {title}\n"
        f"  Tickets  {seats}\n"
        f"  Paid     {row['cents'] / 100:.2f} EUR\n"
        f"  Order    {row['id']}\n\n"
        f"Show this number at the door. Enjoy the film!\n"
    )
    return message


app = create(dict(os.environ))
