"""Journeys with every kind of annotation, for what is generated from them."""

from __future__ import annotations

import datetime
import enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec

from tierline.journeys import HTML, Cache, Cursor, Journey, NotFound, Page


class Genre(enum.Enum):
    drama = "drama"
    comedy = "comedy"


class Film(msgspec.Struct):
    """A film of the catalogue."""

    id: int
    title: str
    genres: list[Genre]
    released: datetime.date | None = None
    about: str = ""


class Card(TypedDict):
    id: int
    title: str


class Order(msgspec.Struct):
    film_id: int
    seats: Annotated[int, msgspec.Meta(ge=1, le=10)]
    note: str | None = None


FILM = Film(7, "Sunrise", [Genre.drama], datetime.date(1927, 9, 23))

film = Journey("film", "/film/{film_id}", about="A film's page.")
search = Journey("search", "/search")
checkout = Journey("checkout", "/checkout", methods=["POST"])


@film.part(cache=Cache("60s"))
async def details(film_id: int) -> Film:
    if film_id == 404:
        raise NotFound(f"film {film_id}")
    return FILM


@film.part(fallback=[])
async def similar(details: Film, most: int = 5) -> list[Film]:
    return [FILM] * min(most, 2)


@film.part(fallback=None)
async def rating(film_id) -> float:
    return 8.5


@film.view("mobile")
def mobile(details: Film) -> Card:
    return {"id": details.id, "title": details.title}


@film.view("affiliate")
def affiliate(details: Film, affiliate) -> dict[str, str]:
    return {"title": details.title, "by": affiliate}


@film.view("web")
def page(details: Film) -> HTML:
    return HTML("<h1>{film.title}</h1>", film=details)


@search.part
async def found(
    q: str,
    sort: Literal["title", "year"] = "title",
    genre: list[Genre] | None = None,
    after: Cursor | None = None,
) -> Page[Film]:
    return Page([FILM], None)


@checkout.part
async def receipt(body: Order) -> dict[str, Any]:
    return {"film": body.film_id, "price": body.seats * 10}


JOURNEYS = [film, search, checkout]
