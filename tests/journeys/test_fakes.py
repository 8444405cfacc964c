"""Fakes for parts that have a cache policy, and types that may be None: what they ask for stays what it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tierline.errors import StackError
from tierline.journeys import Cache, Journey
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
