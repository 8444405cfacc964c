"""The shop of the docs: its journeys with its own services, in this process and through a whole line."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import shutil
import socket
import ssl
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from test_pieces import Client

from tierline.journeys import Journey, build
from tierline.journeys.testing import Outcome, ask
from workbench import Bench

SHOP = Path(__file__).parents[2] / "examples" / "shop"
NAMES = ("catalogue", "pricing", "stock", "opinions", "carts", "orders")
HOME = {"name": "Ada", "street": "1 Byron Row", "country": "GB"}


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example's modules, under names of their own."""
    monkeypatch.syspath_prepend(str(SHOP))
    before = {
        name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] in ("journeys", "shop")
    }
    modules = importlib.import_module("journeys"), importlib.import_module("shop.services")
    yield modules
    for name in [name for name in sys.modules if name.split(".")[0] in ("journeys", "shop")]:
        del sys.modules[name]
    sys.modules.update(before)


class Visitor:
    """Somebody with cookies at a shop of their own."""

    def __init__(self, shop: Any) -> None:
        journeys, self.services = shop
        self.go = asyncio.Event()
        self.stock, self.orders = self.services.Stock(), self.services.Orders()
        self.opinions = self.services.Reviews(self.go)
        made = {
            "stock": self.stock, "orders": self.orders, "opinions": self.opinions, "carts": self.services.Carts(),
        }  # fmt: skip
        services = {name: self.services.serving(each) for name, each in made.items()}
        services |= {name: getattr(self.services, name) for name in ("catalogue", "pricing")}
        found = [each for each in vars(journeys).values() if isinstance(each, Journey)]
        self.application = build(found, services=services)
        self.cookies: dict[str, str] = {}

    async def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Outcome:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            named["content-type"] = "application/json"
        outcome = await ask(self.application, method, target, named, body, Outcome())
        if "set-cookie" in outcome.headers:
            name, _, value = outcome.headers["set-cookie"].partition(";")[0].partition("=")
            self.cookies[name] = value
        return outcome

    async def collected(self) -> None:
        for target, body in (("/cart/1", 2), ("/checkout/address", HOME), ("/checkout/delivery", "bike")):
            assert (await self.ask("PUT", target, body)).status == 200


def test_it_is_short() -> None:
    lines = (SHOP / "journeys.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 120
    assert max(map(len, lines)) <= 130


def test_a_product_page_has_its_first_screen_before_slow_reviews(shop: Any) -> None:
    async def main() -> None:
        visitor = Visitor(shop)
        client = Client("/products/1?currency=USD", accept="text/html")
        asked = client.ask(visitor.application)
        text = await client.until("</template>")
        assert "Kettle &lt;steel&gt;</h1>57.33 USD <i>3 left</i>" in text
        assert '<slot name="reviews">Reviews are on their way</slot>' in text and "Boils" not in text
        visitor.go.set()
        await asked
        assert '<div slot="reviews"><p>5 of 5: Boils &amp; pours</p></div></div></body>' in client.text
        known = await visitor.ask("GET", "/products/1")
        assert known.body["item"] == {"id": 1, "title": "Kettle <steel>", "cents": 4900}
        assert (await visitor.ask("GET", "/products/9")).status == 404

    asyncio.run(main())


def test_how_many_are_left_is_told_while_others_buy(shop: Any) -> None:
    async def main() -> None:
        visitor = Visitor(shop)
        visitor.go.set()
        client = Client("/products/1?stream", accept="text/event-stream", x_client="mobile")
        asked = client.ask(visitor.application)
        await client.until('"part":"reviews"')
        assert 'id: 0\ndata: {"value":{' in client.text
        await visitor.collected()
        assert (await visitor.ask("POST", "/checkout/order", {"card": "4111"})).status == 201
        await client.until('event: part\nid: 1\ndata: {"part":"left","value":1}')
        client.left.set()
        await asked

    asyncio.run(main())


def test_checkout_in_three_steps_is_in_order_and_done_once(shop: Any) -> None:
    async def main() -> None:
        visitor = Visitor(shop)
        empty = await visitor.ask("GET", "/cart")
        assert empty.body == {"lines": []}
        early = await visitor.ask("POST", "/checkout/order", {"card": "4111"})
        assert (early.status, early.body["go_to"]) == (409, "/checkout/delivery")
        assert (await visitor.ask("PUT", "/cart/1", 2)).body == {"added": {"1": 2}}
        early = await visitor.ask("PUT", "/checkout/delivery", "bike")
        assert (early.status, early.body["go_to"]) == (409, "/checkout/address")
        assert (await visitor.ask("PUT", "/checkout/address", {**HOME, "country": "x"})).status == 422
        await visitor.collected()
        cart = await visitor.ask("GET", "/cart?currency=USD")
        assert cart.body["total"] == 2 * 5733 and cart.headers["cache-control"].startswith("private")
        first = await visitor.ask("POST", "/checkout/order", {"card": "4111"}, idempotency_key="k1")
        assert (first.status, first.headers["location"]) == (201, "/orders/2")
        assert first.body["placed"]["address"] == HOME
        again = await visitor.ask("POST", "/checkout/order", {"card": "4111"}, idempotency_key="k1")
        assert (again.status, again.body["placed"], again.body["paid"]) == (201, first.body["placed"], "p1")
        other = await visitor.ask("POST", "/checkout/order", {"card": "4222"}, idempotency_key="k1")
        assert other.status == 409
        assert visitor.stock.left[1] == 1 and visitor.orders.payments == {"p1": "taken"}
        assert (await visitor.ask("GET", "/cart")).body == {"lines": []}

    asyncio.run(main())


def test_what_was_done_before_a_failure_is_undone(shop: Any) -> None:
    async def main() -> None:
        visitor = Visitor(shop)
        await visitor.collected()
        declined = await visitor.ask("POST", "/checkout/order", {"card": "declined"})
        assert declined.status == 402 and visitor.stock.left[1] == 3
        await visitor.ask("PUT", "/checkout/address", {**HOME, "country": "XX"})
        assert (await visitor.ask("POST", "/checkout/order", {"card": "4111"})).status == 403
        assert visitor.orders.payments == {}
        await visitor.ask("PUT", "/checkout/address", {**HOME, "country": "FR"})
        nowhere = await visitor.ask("POST", "/checkout/order", {"card": "4111"})
        assert (nowhere.status, nowhere.body["part"]) == (422, "placed")
        assert visitor.stock.left[1] == 3 and visitor.orders.payments == {"p1": "returned"}
        await visitor.ask("PUT", "/checkout/address", HOME)
        assert (await visitor.ask("POST", "/checkout/order", {"card": "4111"})).status == 201
        assert visitor.stock.left[1] == 1 and list(visitor.orders.payments.values()) == ["returned", "taken"]

    asyncio.run(main())


def test_a_review_shows_at_once_and_needs_a_token(shop: Any) -> None:
    async def main() -> None:
        visitor = Visitor(shop)
        visitor.go.set()
        assert len((await visitor.ask("GET", "/products/1")).body["reviews"]) == 1
        review = {"stars": 3, "text": "Heavy"}
        assert (await visitor.ask("POST", "/products/1/reviews", review)).status == 401
        claims = json.dumps({"sub": "ada"})
        told = await visitor.ask("POST", "/products/1/reviews", review, x_tierline_claims=claims)
        assert told.status == 200
        assert (await visitor.ask("GET", "/products/1")).body["reviews"][1:] == [review]

    asyncio.run(main())


def test_slow_reviews_leave_the_first_bytes_alone_through_the_whole_line(tmp_path: Path) -> None:
    """DNS, CDN, balancer, cache and gateway pass on a first screen while the reviews, which somebody else runs, wait."""
    shutil.copytree(SHOP, tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__", ".tierline"))
    services = tmp_path / "shop" / "shop" / "services.py"
    waits = "await (asyncio.sleep(0.3) if self.go is None else self.go.wait())"
    assert waits in services.read_text()
    held = f"""while not __import__("pathlib").Path({str(tmp_path / "go")!r}).exists():
            await asyncio.sleep(0.01)"""
    services.write_text(services.read_text().replace(waits, held))
    (tmp_path / "shop" / "journeys.py").write_text(
        (tmp_path / "shop" / "journeys.py").read_text().replace('deadline="2s", fallback=[]', 'deadline="60s", fallback=[]')
        .replace('uses=[products, prices, currency])\nreview', 'deadline="60s", uses=[products, prices, currency])\nreview')
    )  # fmt: skip
    bench = Bench(tmp_path / "shop")
    try:
        bench.up()
        port = urlsplit(bench.status()["urls"]["https"]).port
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        for target, accept, first, late in (
            ("/products/1", "text/html", b"</template>", b"Boils"),
            ("/products/3?stream", "text/event-stream", b"event: first", b'"part":"reviews"'),
        ):
            (tmp_path / "go").unlink(missing_ok=True)
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                context.wrap_socket(plain) as connection,
            ):
                connection.settimeout(90)
                kind = b"x-client: mobile\r\n" if "stream" in target else b""
                head = f"GET {target} HTTP/1.1\r\nhost: shop.test\r\naccept: {accept}\r\n".encode() + kind
                connection.sendall(head + b"\r\n")
                received = b""
                while first not in received:
                    piece = connection.recv(65536)
                    assert piece, received
                    received += piece
                assert late not in received
                assert received.partition(b"\r\n\r\n")[0].count(b"charset=") == accept.count("html")
                (tmp_path / "go").touch()
                while late not in received:
                    piece = connection.recv(65536)
                    assert piece, received
                    received += piece
        apart(context, port)
    finally:
        bench.close()


def apart(context: ssl.SSLContext, port: int | None) -> None:
    """The CDN keeps the values of a dimension apart, and gives each to those who ask for it."""
    for number, (cents, currency) in enumerate(
        [(4900, "EUR"), (5733, "USD"), (4900, "EUR"), (5733, "USD"), (4900, "X")]
    ):
        request = urllib.request.Request(f"https://127.0.0.1:{port}/products/1?fields=item")
        request.headers = {"Host": "shop.test", "X-client": "mobile", "Cookie": f"currency={currency}"}
        with urllib.request.urlopen(request, timeout=90, context=context) as reply:
            assert json.loads(reply.read())["item"]["cents"] == cents
            assert reply.headers["cache-control"].startswith("public")
            assert "hit" in reply.headers["cache-status"] or number not in (2, 3), reply.headers


def test_the_page_shows_what_is_run() -> None:
    page = (SHOP.parents[1] / "docs" / "shop.md").read_text()
    source = (SHOP / "journeys.py").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert all(block.strip() in source for block in blocks)
    shown = sum(len([line for line in block.splitlines() if line.strip()]) for block in blocks)
    assert shown >= 95
