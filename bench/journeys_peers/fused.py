"""A journey of three parts that are functions in its own process."""

from __future__ import annotations

from journeys_peers.document import get_details, get_rating, get_similar

from tierline.journeys import Journey, build

film = Journey("film", "/film/{film_id}")


@film.part
async def details(film_id: int):
    return await get_details(film_id)


@film.part(deadline="100ms", fallback=[])
async def similar(film_id):
    return await get_similar(film_id)


@film.part(deadline="80ms", fallback=None)
async def my_rating(film_id):
    return await get_rating(film_id)


app = build([film])
