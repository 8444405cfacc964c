"""Entities: fetched once for all who ask, in few calls, kept apart by who asks, and dropped by what is written."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any, TypedDict

import pytest

from tierline.errors import StackError
from tierline.journeys import Cache, Dimension, Journey, MemoryStore, RedisStore, build, entities, explain
from tierline.journeys.cached import Cached
from tierline.journeys.testing import Outcome, ask
from waiting import becomes

currency = Dimension("currency", ["EUR", "USD"], query="currency")


class Product(TypedDict):
    id: int
    price: Decimal
    tags: list[str]


class Catalog:
    """A service over ASGI: tells prices, takes new ones, and knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.price = "1.50"
        self.hold: asyncio.Event | None = None
        self.fails = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http" or await receive() is None
        query = scope["query_string"].decode()
        headers = dict(scope["headers"])
        who = headers.get(b"authorization", b"").decode()
        self.asked.append(" ".join(filter(None, (scope["method"], query, who))))
        price = self.price
        if scope["method"] == "PUT":
            self.price = "9.99"
        if self.hold is not None:
            await self.hold.wait()
        status = 503 if self.fails else 200
        ids = [pair.partition("=")[2] for pair in query.split("&") if pair.startswith("id=")]
        rows = [f'{{"id": {i}, "price": "{price}", "tags": []}}' for i in ids if i != "404"]
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": f"[{','.join(rows)}]".encode()})


@entities("5m", most=3)
async def products(ids: list[int], currency: str, catalog) -> dict[int, Product]:
    found = (await catalog.get("/products", id=ids, currency=currency)).json(list[Product])
    return {each["id"]: each for each in found}


def page() -> Journey:
    journey = Journey("page", "/products/{product_id}", uses=[products, currency])

    @journey.part
    async def product(product_id: int, products) -> Product | None:
        try:
            found: Product = await products(product_id)
        except KeyError:
            return None
        found["tags"].append("mine")
        return found

    return journey


def shelf() -> Journey:
    journey = Journey("shelf", "/shelf/{n}", uses=[products, currency])

    @journey.part
    async def prices(n: int, products) -> list[Decimal]:
        return [each["price"] for each in await products.many(range(1, n + 1))]

    return journey


def reprice() -> Journey:
    journey = Journey("reprice", "/reprice/{product_id}", methods=["POST"], uses=[products, currency])

    @journey.part(hidden=True)
    async def before(product_id: int, products) -> Decimal:
        return (await products(product_id))["price"]

    @journey.effect(drops=["products:{product_id}"])
    async def change(product_id: int, before: Decimal, catalog) -> str:
        await catalog.put("/products/{id}", id=product_id, json={})
        return str(before)

    @journey.part
    async def after(product_id: int, change: str, products) -> Decimal:
        return (await products(product_id))["price"]

    return journey


async def get(
    application: Any, target: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> Outcome:
    return await ask(application, method, target, headers or {}, None, Outcome())


def test_journeys_share_them_and_many_keys_are_few_calls() -> None:
    async def main() -> None:
        catalog = Catalog()
        application = build([page(), shelf()], services={"catalog": catalog})
        assert (await get(application, "/shelf/5")).body == {"prices": ["1.50"] * 5}
        assert sorted(catalog.asked) == ["GET id=1&id=2&id=3&currency=EUR", "GET id=4&id=5&currency=EUR"]
        assert (await get(application, "/shelf/5")).body == {"prices": ["1.50"] * 5}
        one = await get(application, "/products/2")
        assert one.body == {"product": {"id": 2, "price": "1.50", "tags": ["mine"]}}
        # Nobody sees what another request has changed in its copy.
        assert (await get(application, "/products/2")).body["product"]["tags"] == ["mine"]
        assert len(catalog.asked) == 2
        assert (await get(application, "/shelf/6")).body == {"prices": ["1.50"] * 6}
        assert (await get(application, "/products/2?currency=USD")).status == 200
        assert catalog.asked[2:] == ["GET id=6&currency=EUR", "GET id=2&currency=USD"]
        assert (await get(application, "/products/404")).body == {"product": None}
        assert (await get(application, "/products/404")).body == {"product": None}
        assert catalog.asked[4:] == ["GET id=404&currency=EUR"] * 2

    asyncio.run(main())


def test_misses_at_one_time_are_one_call_and_one_that_gives_up_ends_nothing() -> None:
    async def main() -> None:
        catalog = Catalog()
        catalog.hold = asyncio.Event()
        application = build([page(), shelf()], services={"catalog": catalog})
        hasty = asyncio.create_task(get(application, "/products/1", {"x-request-deadline-ms": "30"}))
        several = [asyncio.create_task(get(application, f"/products/{i}")) for i in (1, 1, 2, 2)]
        assert (await hasty).status == 504
        assert catalog.asked == ["GET id=1&id=2&currency=EUR"]
        late = asyncio.create_task(get(application, "/products/2"))
        await asyncio.sleep(0)
        catalog.hold.set()
        assert {(await each).status for each in (*several, late)} == {200}
        assert len(catalog.asked) == 1

    asyncio.run(main())


def test_callers_with_their_own_token_do_not_share() -> None:
    async def main() -> None:
        catalog = Catalog()
        application = build([page()], services={"catalog": catalog}, forward={"catalog": ["authorization"]})
        for token in ("a", "b", "a", "b"):
            outcome = await get(application, "/products/1", {"authorization": token})
            assert outcome.headers["cache-control"].startswith("private")
        both = [get(application, "/products/2", {"authorization": token}) for token in ("a", "b")]
        await asyncio.gather(*both)
        assert sorted(catalog.asked) == sorted(
            f"GET id={i}&currency=EUR {token}" for i in (1, 2) for token in ("a", "b")
        )

    asyncio.run(main())


def test_a_failure_is_not_kept_and_fails_only_those_who_waited() -> None:
    async def main() -> None:
        catalog = Catalog()
        catalog.fails = True
        application = build([page()], services={"catalog": catalog})
        assert (await get(application, "/products/1")).status == 502
        catalog.fails = False
        assert (await get(application, "/products/1")).status == 200

    asyncio.run(main())


def test_an_effect_drops_what_it_makes_old_for_all() -> None:
    told: list[list[str]] = []

    async def main() -> None:
        catalog = Catalog()
        application = build([page(), reprice()], services={"catalog": catalog}, on_drop=told.append)
        for i in (1, 2):
            await get(application, f"/products/{i}")
        outcome = await get(application, "/reprice/1", method="POST")
        assert outcome.body == {"change": "1.50", "after": "9.99"}
        assert (await get(application, "/products/1")).body["product"]["price"] == "9.99"
        assert (await get(application, "/products/2")).body["product"]["price"] == "1.50"
        assert told == [["products:1"]]
        await application.drop("products")
        assert (await get(application, "/products/2")).body["product"]["price"] == "9.99"

    asyncio.run(main())


def test_what_an_effect_makes_old_is_explained() -> None:
    assert "change: stays when a later one fails; makes products:{product_id} old" in explain(reprice())


def test_what_was_on_its_way_when_it_was_dropped_is_not_used_again() -> None:
    async def main() -> None:
        catalog = Catalog()
        catalog.hold = asyncio.Event()
        application = build([page()], services={"catalog": catalog})
        first = asyncio.create_task(get(application, "/products/1"))
        assert await becomes(lambda: catalog.asked)
        catalog.price = "9.99"
        await application.drop("products:1")
        second = asyncio.create_task(get(application, "/products/1"))
        assert await becomes(lambda: len(catalog.asked) == 2)
        catalog.hold.set()
        assert (await first).body["product"]["price"] == "1.50"
        assert (await second).body["product"]["price"] == "9.99"
        assert (await get(application, "/products/1")).body["product"]["price"] == "9.99"

    asyncio.run(main())


def test_a_tag_drops_what_parts_have_stored_under_their_keys_too() -> None:
    calls: list[int] = []
    film = Journey("film", "/film/{film_id}")

    @film.part(cache=Cache("60s", keys=["film:{film_id}"]))
    async def details(film_id: int) -> int:
        calls.append(film_id)
        return film_id

    async def main() -> None:
        application = build([film])
        for target in ("/film/1", "/film/2", "/film/1"):
            await get(application, target)
        await application.drop("film:1")
        for target in ("/film/1", "/film/2", "/film/1"):
            await get(application, target)
        assert calls == [1, 2, 1]

    asyncio.run(main())


def test_the_answer_holds_for_what_is_left_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 1000.0

        def time(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr("tierline.journeys.kept.time", clock)

    async def main() -> None:
        catalog = Catalog()
        application = build([page()], services={"catalog": catalog})
        first = await get(application, "/products/1")
        assert first.headers["cache-control"] == "public, max-age=300"
        assert "age" not in first.headers
        clock.now += 100
        assert (await get(application, "/products/1")).headers["age"] == "100"
        clock.now += 200
        assert "age" not in (await get(application, "/products/1")).headers
        assert len(catalog.asked) == 2

    asyncio.run(main())


def test_memory_is_bounded_and_a_store_is_optional() -> None:
    async def main() -> None:
        catalog = Catalog()
        small = MemoryStore(most_bytes=2000)
        application = build([shelf()], services={"catalog": catalog}, cache=small)
        assert len((await get(application, "/shelf/60")).body["prices"]) == 60
        assert small._size <= 2000
        without = build([shelf()], services={"catalog": catalog}, cache=None)
        for _ in range(2):
            assert len((await get(without, "/shelf/3")).body["prices"]) == 3
        assert len(catalog.asked) == 20 + 2

    asyncio.run(main())


def test_processes_share_a_store_and_its_drops(valkey: str) -> None:
    async def main() -> None:
        catalog = Catalog()
        stores = [RedisStore(valkey, timeout=5) for _ in range(2)]
        one, other = (
            build([page(), shelf(), reprice()], services={"catalog": catalog}, cache=Cached(store))
            for store in stores
        )
        await get(one, "/shelf/3")
        assert (await get(other, "/shelf/3")).body == {"prices": ["1.50"] * 3}
        assert len(catalog.asked) == 1
        await get(one, "/reprice/1", method="POST")
        assert (await get(other, "/shelf/3")).body == {"prices": ["9.99", "1.50", "1.50"]}
        for each in (one, other):
            await each.stop()

    asyncio.run(main())


def test_what_can_not_be_one_is_refused() -> None:
    with pytest.raises(StackError, match="most: 0 is not allowed"):
        entities("5m", most=0)(lambda keys: {})
    with pytest.raises(StackError, match="is not a duration"):
        entities("soon")(lambda keys: {})

    @entities("5m")
    async def mine(ids: list[int], session) -> dict[int, int]:
        return {}

    for words, why in (
        ({"uses": [mine]}, "names 'session'"),
        ({"uses": [products, products]}, "exists already"),
    ):
        with pytest.raises(StackError, match=why):
            journey = Journey("page", "/page", **words)  # type: ignore[arg-type]
            journey.part(name="shown")(lambda mine: 1)
            build([journey])
    buy = Journey("buy", "/buy/{n}", methods=["POST"])
    buy.effect(drops=["products:{m}"], name="order")(lambda n: n)
    with pytest.raises(StackError, match=r"drops: 'products:\{m\}' names 'm'"):
        build([buy])
    with pytest.raises(StackError, match="is one text"):
        Journey("buy", "/buy", methods=["POST"]).effect(drops="products", name="order")(lambda: 1)
