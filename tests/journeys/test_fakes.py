"""Fakes for parts that have a cache policy, and types that may be None: what they ask for stays what it was."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from msgspec import Meta

from tierline.errors import StackError
from tierline.journeys import Cache, Cursor, Journey
from tierline.journeys.inputs import compatible
from tierline.journeys.testing import Outcome


def call(journey: Journey, **words: Any) -> Outcome:
    async def main() -> Outcome:
        return await journey.call(**words)

    return asyncio.run(main())


def make_film() -> Journey:
    film = Journey("film", "/film/{film_id}")

    @film.part(hidden=True)
    async def chosen(film_id: int, edition: str = "first") -> str:
        return f"{film_id}-{edition}"

    @film.part(cache=Cache("60s", keys=["film-{film_id}", "edition-{edition}"]))
    async def details(chosen: str, catalog: Any) -> dict[str, Any]:
        return (await catalog.get("/films")).json()

    @film.part(fallback=None, cache=Cache("5s", per="user"))
    async def mine(details: dict[str, Any], session: Any) -> int | None:
        return session.get("stars")

    return film


async def own(film_id: int) -> dict[str, Any]:
    return {"id": film_id}


@pytest.mark.parametrize("fake", [{"id": 7}, own], ids=["a value", "a function"])
def test_a_part_whose_surrogate_keys_name_inputs_can_be_faked(fake: Any) -> None:
    outcome = call(make_film(), film_id=7, edition="second", fakes={"details": fake})
    assert outcome.status == 200
    assert outcome.body == {"details": {"id": 7}, "mine": None}
    assert outcome.headers["surrogate-key"] == "film film-7 edition-second"


def test_a_faked_part_fails_with_its_cache_policy_too() -> None:
    outcome = call(make_film(), film_id=7, fakes={"details": RuntimeError("away")})
    assert outcome.status == 500 and outcome.problem and outcome.problem["part"] == "details"


def test_a_part_that_is_cached_per_user_can_be_faked_and_stays_private() -> None:
    outcome = call(make_film(), film_id=7, fakes={"details": {}, "mine": 9})
    assert outcome.body["mine"] == 9
    assert outcome.headers["cache-control"].startswith("private")


@pytest.mark.parametrize(
    "made, wanted, fits",
    [
        (int | None, int | None, True),
        (int | None, int | str | None, True),
        (int | None, None | int, True),
        (int, int | None, True),
        (bool | None, float | int | None, True),
        (int | None, int, False),
        (int | str, int | None, False),
        (None, int | None, True),
    ],
)
def test_a_union_fits_when_each_of_its_members_does(made: Any, wanted: Any, fits: bool) -> None:
    assert compatible(made, wanted) is fits


def test_a_part_that_may_return_none_is_handed_to_one_that_takes_none() -> None:
    film = Journey("film", "/film")

    @film.part
    async def rating() -> int | None:
        return None

    @film.part
    async def shown(rating: int | None) -> str:
        return "none" if rating is None else str(rating)

    assert call(film).body == {"rating": None, "shown": "none"}

    @film.part
    async def strict(rating: int) -> int:
        return rating

    with pytest.raises(StackError, match=r"wants 'rating' as int, but part 'rating' returns int \| None"):
        film.shape()


def make_shop() -> Journey:
    shop = Journey("shop", "/shop/{item}", methods=["POST"])

    @shop.part
    async def order(item: int, orders: Any, body: dict[str, Any], gift: bool = False) -> dict[str, Any]:
        return (await orders.post("/orders", json={**body, "item": item, "gift": gift})).json()

    @shop.part(fallback=None)
    async def stock(item: int, warehouse: Any) -> int:
        return (await warehouse.get("/stock/{item}", item=item)).json()

    @shop.view("mobile", since="2.0")
    def mobile(order: dict[str, Any]) -> dict[str, Any]:
        return {"new": order}

    @shop.view("affiliate")
    def partner(order: dict[str, Any], affiliate: str) -> dict[str, Any]:
        return {affiliate: order}

    return shop


def test_a_path_without_a_method_is_the_reply_to_every_method() -> None:
    fakes = {"orders": {"/orders": (201, {"id": 1})}, "warehouse": {"GET /stock/3": 4}}
    assert call(make_shop(), item=3, body={}, fakes=fakes).body == {"order": {"id": 1}, "stock": 4}


def test_what_a_fake_does_not_know_is_an_error_of_the_test() -> None:
    with pytest.raises(AssertionError, match="'orders' was asked for POST /orders; it knows: GET /orders"):
        call(make_shop(), item=3, body={}, fakes={"orders": {"GET /orders": {}}})
    with pytest.raises(AssertionError, match=r"'orders' was asked for POST /orders; give it to fakes="):
        call(make_shop(), item=3, body={}, fakes={})
    # A part that has a fallback needn't be given its service; but a mistake in one that was given is told.
    orders = {"orders": {"/orders": {}}}
    assert call(make_shop(), item=3, body={}, fakes=orders).degraded == ["stock"]
    with pytest.raises(AssertionError, match="'warehouse' was asked for GET /stock/3; it knows: /stock/4"):
        call(make_shop(), item=3, body={}, fakes={**orders, "warehouse": {"/stock/4": 1}})


def test_a_value_that_the_journey_does_not_take_is_an_error_of_the_test() -> None:
    with pytest.raises(TypeError, match=r"journey 'shop' takes no 'gitf', did you mean 'gift'\?"):
        call(make_shop(), item=3, gitf=True, body={}, fakes={"order": {}})
    assert call(make_shop(), item=3, fields="order", body={}, fakes={"order": {}}).body == {"order": {}}


def test_version_and_affiliate_choose_the_view() -> None:
    fakes = {"order": {"id": 1}, "stock": 1}
    words: dict[str, Any] = {"item": 3, "body": {}, "fakes": fakes}
    assert call(make_shop(), client="mobile", version="2.10", **words).body == {"new": {"id": 1}}
    assert call(make_shop(), client="mobile", version="1.9", **words).body == {"order": {"id": 1}, "stock": 1}
    assert call(make_shop(), client="affiliate", affiliate="acme", **words).body == {"acme": {"id": 1}}


def test_messages_name_types_in_words() -> None:
    listing = Journey("listing", "/listing")

    @listing.part
    async def found(limit: Annotated[int, Meta(ge=1, le=50)] = 20, after: Cursor | None = None) -> int:
        return limit

    why = call(listing, limit=51, after="zz").problem
    assert why is not None
    assert {each["field"]: each["why"].partition("; it takes ")[2] for each in why["errors"]} == {
        "limit": "int ≥ 1, ≤ 50",
        "after": "the cursor of an earlier answer | None",
    }
    missing = call(make_shop(), item=3, fakes={"orders": {"/orders": {}}}).problem
    assert missing is not None and missing["detail"].startswith("body: is required")
