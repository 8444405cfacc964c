"""`explain` says what really runs and is stored: its lines are compared with what a real service is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from counted import Counted, counted, within
from serving import granian

from tierline.journeys import Cache, Journey, build
from tierline.journeys.explaining import explain, mermaid, svg


@pytest.fixture(scope="module")
def service() -> Iterator[Counted]:
    with granian("counting:app") as address, counted(address) as found:
        yield found


@pytest.fixture
def shop(service: Counted) -> Counted:
    service.set({})
    return service


def make_product() -> Journey:
    product = Journey("product", "/product/{product_id}", deadline="20s")

    @product.guard
    async def open_now(shop) -> bool:
        return bool((await shop.get("/open_now")).json())

    @product.part(cache=Cache("60s", stale="5m", stale_if_error="1h", keys=["product:{product_id}"]))
    async def details(product_id: int, shop) -> dict[str, str]:
        return (await shop.get("/details", id=product_id)).json()

    @product.part(fallback=[], cache=Cache("30s", vary=["x-experiment"]))
    async def banners(request, shop) -> list[str]:
        return [(await shop.get("/banners", of=request.header("x-experiment") or "a")).json()["of"]]

    @product.part(cache=Cache("10s", per="user"), fallback=None, requires="lists:read")
    async def mine(identity, shop) -> dict[str, str]:
        return (await shop.get("/mine", id=identity["sub"])).json()

    @product.part
    async def similar(details: dict[str, str], shop) -> list[str]:
        return [(await shop.get("/similar", of=details["id"])).json()["of"]]

    @product.batch(most=50)
    async def prices(ids: list[int], shop) -> dict[int, str]:
        found = (await shop.get("/prices")).json()["path"]
        return dict.fromkeys(ids, found)

    @product.part(hidden=True)
    async def price(product_id: int, prices) -> str:
        return await prices(product_id)

    @product.view("mobile")
    def mobile(details: dict[str, str], similar: list[str], price: str):
        return {"title": details["path"], "similar": similar[:3], "price": price}

    @product.view("affiliate")
    def affiliate(details: dict[str, str], price: str):
        if price:
            return {"title": details["path"], "price": price}
        return {}

    return product


def make_checkout() -> Journey:
    cart = Journey("cart", "/cart", methods=["POST"])
    checkout = Journey("checkout", "/checkout", methods=["POST"], deadline="20s", requires={"role": "buyer"})

    @cart.part
    def items() -> int:
        return 1

    @checkout.guard
    async def buyer(shop) -> str:
        return (await shop.get("/buyer")).json()["path"]

    @checkout.part(hidden=True)
    async def total(shop) -> str:
        return (await shop.get("/total")).json()["path"]

    @checkout.effect(retries=2)
    async def payment(total: str, buyer: str, shop) -> str:
        return (await shop.post("/payment")).json()["path"]

    @checkout.effect
    async def order(shop) -> str:
        return (await shop.post("/order")).json()["path"]

    @checkout.compensate("payment")
    async def refund(payment: str, shop) -> None:
        await shop.post("/refund")

    @checkout.part(fallback=[])
    async def advice(shop) -> list[str]:
        return [(await shop.get("/advice")).json()["path"]]

    cart.step("buy")
    checkout.step("buy", after=cart, required=True)
    return checkout


def test_guards_effects_steps_and_requirements_are_in_it() -> None:
    text = explain(make_checkout())
    for line in (
        "requires  role=buyer; else 401 without a token, 403 with one; before all else",
        "guards    buyer: before all others; one that fails refuses the request",
        "level 1   buyer    guard",
        "level 2   total    hidden",
        "level 3   payment  effect 1 of 2; after total, buyer; 2 retries",
        "level 4   order    effect 2 of 2",
        "level 5   advice   falls back to []",
        "writes    payment, order: one after the other, when all that they read is there; not cancelled",
        "key: the request's Idempotency-Key, else one that the session keeps",
        "payment: undone by refund when a later one fails",
        "order: stays when a later one fails",
        "step      2 of buy, after cart; a visitor who hasn't been there gets 409 with go_to /cart",
        "answer    without a view: payment, order, advice; no-store",
    ):
        assert line in text, f"{line}\n\n{text}"


def test_what_is_stored_merged_and_answered_is_in_it() -> None:
    class Forwards:
        forward = ("authorization",)

    text = explain(make_product())
    for line in (
        "cached    details: 60 s, then 5 min stale while one call refreshes it, 60 min where the part fails; shared by "
        "all, by product_id; dropped by product:{product_id}",
        "banners: 30 s; shared by all, by header x-experiment",
        "mine: 10 s; each user's own (the token's sub, else the session), by the token's claims",
        "merged    equal GET calls of one request to shop are one, until it is written to",
        "keys of prices at one moment are one call, 50 at most",
        "requests at one moment run details, banners, mine once for each key",
        "requires  mine: lists:read; else it isn't run, and its fallback",
        "view      mobile: application/json of details, similar, price; not run: banners, mine; no-cache",
        "?fields= title runs details; similar runs details, similar; price runs prices, price",
        "?fields= cuts it afterwards: its function is not one `return {…}` or TypedDict",
        "answer    without a view: details, banners, mine, similar; private, no-cache; varies by x-experiment",
    ):
        assert line in text, f"{line}\n\n{text}"
    assert "by product_id, header authorization;" in explain(make_product(), services={"shop": Forwards()})
    assert svg(make_product()).count("<rect") == 7 and "open_now" in mermaid(make_product())


@pytest.mark.parametrize("client", ["web", "mobile"])
def test_what_it_says_of_fields_is_what_runs(shop: Counted, client: str) -> None:
    product = make_product()
    text = explain(product)
    head = "view      mobile" if client == "mobile" else "answer    without a view"
    rows = text.partition(head)[2].splitlines()[1].partition("?fields= ")[2].split("; ")
    called = {"price": set[str](), "open_now": {"open_now"}}
    for row in rows:
        field, said = re.fullmatch(r"(\w+) runs (.*)", row).groups()  # type: ignore[union-attr]
        shop.set({})
        outcome = shop.ask(
            product,
            f"/product/7?fields={field}",
            client=client,
            headers={"x-tierline-claims": '{"sub":"ada","scope":"lists:read"}'},
        )
        assert outcome.status == 200, outcome
        parts = {"open_now", *said.split(", ")}
        expected = set().union(*(called.get(part, {part}) for part in parts))
        assert shop.asked() == {f"GET /{name}": 1 for name in expected}, field


def test_the_levels_are_the_order_of_the_calls(shop: Counted) -> None:
    checkout = make_checkout()
    rows = re.findall(r"level \d+   (\w+)", explain(checkout))
    assert rows == ["buyer", "total", "payment", "order", "advice"]
    shop.set({f"/{name}": [{"status": 500}] for name in ("advice", "order")})
    claims = {"x-tierline-claims": '{"sub":"ada","role":"buyer"}', "idempotency-key": "k"}
    checkout.steps.clear()
    outcome = shop.ask(checkout, "/checkout", method="POST", headers=claims)
    assert outcome.status == 502
    asked = shop.asked()
    assert asked == {
        "GET /buyer": 1,
        "GET /total": 1,
        "POST /payment": 1,
        "POST /order": 1,
        "POST /refund": 1,
    }
    first = shop.keys()[0]
    assert shop.keys() == [first, f"{first}.order", f"{first}.payment.undo"]


def test_an_operator_reads_it_from_the_application(shop: Counted) -> None:
    app = build([make_product()], services={"shop": object()})

    async def main() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return (await client.get("/-/journeys")).text

    assert within(main()) == explain(make_product())
