"""The shop's screens: a product's page, the cart, and checkout in three steps."""

from collections.abc import AsyncIterator
from secrets import token_urlsafe
from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from tierline import HTML, Journey
from tierline.journeys import Cache, Conflict, Dimension, Event, Forbidden, NotFound, Reply, Slot, entities

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class Product(TypedDict):
    id: int
    title: str


class Line(TypedDict):
    id: int
    title: str
    count: int
    cents: int


class Address(TypedDict):
    name: Text
    street: Text
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]


class Review(TypedDict):
    stars: Annotated[int, Meta(ge=1, le=5)]
    text: Text


currency = Dimension("currency", ["EUR", "USD"], query="currency", cookie="currency")


@entities("5m")
async def products(ids: list[int], catalogue) -> dict[int, Product]:
    return {each["id"]: each for each in (await catalogue.get("/products", id=ids)).json(list[Product])}


@entities("10s")
async def prices(ids: list[int], currency: str, pricing) -> dict[int, int]:
    return (await pricing.get("/prices", id=ids, currency=currency)).json(dict[int, int])


product = Journey("product", "/products/{product_id}", uses=[products, prices, currency])
review = Journey("review", "/products/{product_id}/reviews", methods=["POST"], requires=True)
cart = Journey("cart", "/cart", uses=[products, prices, currency])
add = Journey("add", "/cart/{product_id}", methods=["PUT"])
address = Journey("address", "/checkout/address", methods=["PUT"])
delivery = Journey("delivery", "/checkout/delivery", methods=["PUT"])
order = Journey("order", "/checkout/order", methods=["POST"], uses=[products, prices, currency])
add.step("buy"), address.step("buy", after=add, required=True)
delivery.step("buy", after=address, required=True), order.step("buy", after=delivery, required=True)


@product.part
async def item(product_id: int, products, prices) -> dict:
    try:
        return {**await products(product_id), "cents": await prices(product_id)}
    except KeyError:
        raise NotFound("no such product") from None


@product.live(deadline="200ms", fallback=None)
async def left(product_id: int, stock) -> AsyncIterator[Event[int] | None]:
    seen = None
    while now := (await stock.get("/stock/{id}", id=product_id, after=seen)).json():
        if now["version"] != seen:
            seen = now["version"]
            yield Event(now["left"], id=str(seen))


@product.part(defer=True, deadline="2s", fallback=[], cache=Cache("1m", keys=["reviews:{product_id}"]))
async def reviews(product_id: int, opinions) -> list[Review]:
    return (await opinions.get("/products/{id}/reviews", id=product_id)).json(list[Review])


@product.view("web")
def page(item: dict, left: int | None, currency: str, reviews: Slot) -> HTML:
    stock = "" if left is None else f"{left} left"
    text = "<!doctype html><title>{i[title]}</title><body><h1>{i[title]}</h1>{p:.2f} {c} <i>{s}</i>{r}</body>"
    return HTML(
        text, i=item, p=item["cents"] / 100, c=currency, s=stock, r=reviews("Reviews are on their way")
    )


@product.view("web", of="reviews")
def reviewed(reviews: list[Review]) -> HTML:
    return HTML.trusted("".join(HTML("<p>{r[stars]} of 5: {r[text]}</p>", r=each) for each in reviews))


@review.effect(drops=["reviews:{product_id}"])
async def opinion(product_id: int, body: Review, opinions) -> Review:
    return (await opinions.post("/products/{id}/reviews", id=product_id, json=body)).json(Review)


@cart.part(hidden=True)
@order.part(hidden=True)
async def basket(session, carts) -> dict[int, int]:
    return (await carts.get("/carts/{key}", key=session.get("cart", "none"))).json(dict[int, int])


@cart.part
@order.part
async def lines(basket: dict[int, int], products, prices) -> list[Line]:
    found = zip(await products.many(basket), await prices.many(basket), strict=True)
    return [
        {**each, "count": basket[each["id"]], "cents": cents * basket[each["id"]]} for each, cents in found
    ]


@cart.part(when="lines")
@order.part(hidden=True)
def total(lines: list[Line]) -> int:
    return sum(each["cents"] for each in lines)


@add.effect
async def added(product_id: int, body: Annotated[int, Meta(ge=0, le=99)], session, carts) -> dict[int, int]:
    key = session.setdefault("cart", token_urlsafe(12))
    return (await carts.put("/carts/{key}/{id}", key=key, id=product_id, json=body)).json(dict[int, int])


@address.part
def send_to(body: Address, session) -> Address:
    session["address"] = body
    return body


@delivery.part
def send_by(body: Literal["post", "bike"], session) -> str:
    session["delivery"] = body
    return body


@order.guard
def served(session) -> None:
    if session.get("address", {}).get("country") == "XX":
        raise Forbidden("nothing is sent there")


@order.effect
async def reserved(basket: dict[int, int], session, stock) -> str:
    if not basket:
        raise Conflict("the cart is empty")
    return (await stock.put("/reservations/{key}", key=session["cart"], json=basket)).json()["id"]


@order.compensate("reserved")
async def released(reserved: str, stock) -> None:
    await stock.delete("/reservations/{key}", key=reserved)


@order.effect(retries=2, forward_errors=402)
async def paid(total: int, currency: str, body: dict[str, str], orders) -> str:
    return (await orders.post("/payments", json={**body, "cents": total, "currency": currency})).json()["id"]


@order.compensate("paid")
async def returned(paid: str, orders) -> None:
    await orders.delete("/payments/{id}", id=paid)


@order.effect(retries=2)
async def placed(paid: str, lines: list[Line], session, orders) -> Reply[dict]:
    sent = {"payment": paid, "lines": lines, "address": session["address"], "delivery": session["delivery"]}
    made = (await orders.post("/orders", json=sent)).json()
    del session["cart"]
    return Reply(made, status=201, location=f"/orders/{made['id']}")
