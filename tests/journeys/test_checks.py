"""What parts and views return is what they say: always in tests, now and then in production. The service is a real one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, TypedDict

import httpx
import msgspec
import pytest
from counted import Counted, counted, within
from serving import granian

from tierline.journeys import Journey, Session
from tierline.journeys.app import Experience
from tierline.journeys.checks import SHARE, mismatch


class Film(TypedDict):
    id: int
    title: str


class Card(msgspec.Struct):
    id: Annotated[int, msgspec.Meta(ge=1)]
    tags: list[str] = []


@pytest.fixture(scope="module")
def service() -> Iterator[Counted]:
    with granian("counting:app") as address, counted(address) as found:
        yield found


@pytest.fixture
def shop(service: Counted) -> Counted:
    service.set({})
    return service


def make_film(*, fallback: bool = False, view: bool = False) -> Journey:
    film = Journey("film", "/film", deadline="20s")
    words: dict[str, Any] = {"fallback": {"id": 0, "title": ""}} if fallback else {}

    @film.part(**words)
    async def details(shop) -> Film:
        return (await shop.get("/details")).json()

    if view:

        @film.view("mobile")
        def mobile(details: Film) -> dict[str, int]:
            return {"title": details["title"]}  # type: ignore[dict-item]  the mistake itself

    return film


WRONG = {"/details": [{"body": {"id": "secret-7", "title": "Sunrise"}}]}
SAYS = "part 'details' returned something else than it says: Expected `int`, got `str` - at `$.id`"


@pytest.mark.parametrize("fallback", [True, False])
def test_in_tests_a_value_of_another_type_is_an_error(shop: Counted, fallback: bool) -> None:
    shop.set(WRONG)
    outcome = shop.ask(make_film(fallback=fallback), "/film")
    assert outcome.status == 500 and outcome.problem
    assert (outcome.problem["part"], outcome.problem["detail"]) == ("details", SAYS)
    assert "secret" not in str(outcome.problem)


def test_in_tests_a_fake_of_another_type_is_one_too() -> None:
    outcome = asyncio.run(make_film().call(fakes={"details": {"id": 7}}))
    assert outcome.status == 500 and "missing required field `title`" in str(outcome.problem)
    fits = asyncio.run(make_film().call(fakes={"details": {"id": 7, "title": "Sunrise", "more": 1}}))
    assert fits.status == 200


def test_in_tests_a_views_answer_of_another_type_is_one_too(shop: Counted) -> None:
    shop.set({"/details": [{"body": {"id": 7, "title": "Sunrise"}}]})
    outcome = shop.ask(make_film(view=True), "/film", client="mobile")
    assert outcome.status == 500
    assert (
        "view 'mobile' returned something else than it says: Expected `int`, got `str` - at `$[...]`"
        in str(outcome.problem)
    )


def test_in_tests_a_stream_tells_it_too(shop: Counted) -> None:
    shop.set(WRONG)
    outcome = shop.ask(make_film(), "/film?stream")
    assert [event["event"] for event in outcome.body] == ["part", "problem", "end"]
    assert outcome.body[1]["problem"]["detail"] == SAYS


async def asked(app: Experience, times: int) -> set[int]:
    """As a server asks the application, not as a test's helper."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return {(await client.get("/film")).status_code for _ in range(times)}


def test_in_production_a_share_is_checked_logged_and_answered_all_the_same(
    shop: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    shop.set(WRONG)
    caplog.set_level(logging.WARNING, "tierline.journeys")
    app = shop.build(make_film())
    times = 4 * SHARE
    assert within(asked(app, times)) == {200}
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"journey film, {SAYS}", "the first request is checked; one line a minute"
    found = app.engine.checks.counts["film", "details"]
    assert 2 <= found <= times // 8, found


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        ([1, "a"], list[int], "Expected `int`, got `str` - at `$[1]`"),
        ({"a": {"b": None}}, dict[str, dict[str, int]], "Expected `int`, got `null` - at `$[...][...]`"),
        (Card(0), Card, "Expected `int` >= 1 - at `$.id`"),
        ([Card(1, ["a", 2])], list[Card], "Expected `str`, got `int` - at `$[0].tags[1]`"),  # type: ignore[list-item]
        ({"id": 1}, Card, "Expected `Card`, got `dict`"),
        ("1.20", Decimal, "Expected `Decimal`, got `str`"),
        ({"id": 1}, Film, "Object missing required field `title`"),
        (True, int, "Expected `int`, got `bool`"),
    ],
)
def test_a_difference_is_told_by_field_given_and_allowed(value: Any, kind: Any, why: str) -> None:
    assert mismatch(value, kind) == why


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, float),
        (None, int | None),
        ({1: Decimal(2)}, dict[int, Decimal]),
        ({1, 2}, set[int]),
        ((1, "a"), tuple[int, str]),
        ({"id": 1, "title": "a", "more": object()}, Film),
        (object(), object),
        ([object()], list[Any]),
        (SHARE, Any),
        (b"x", bytes),
        (Session("id", {"cart": [1]}), Session),
        ({"mine": Session("id")}, dict[str, Session]),
    ],
)
def test_what_fits_or_cannot_be_known_is_no_difference(value: Any, kind: Any) -> None:
    assert mismatch(value, kind) == ""
