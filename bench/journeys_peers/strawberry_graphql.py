"""Strawberry GraphQL: the same document by a query; GET /film/1?query=…"""

from __future__ import annotations

import strawberry
from journeys_peers.document import DETAILS, RATING, SIMILAR
from strawberry.asgi import GraphQL


@strawberry.type
class Details:
    id: int
    title: str
    year: int
    length: int
    rating: float
    votes: int
    genres: list[str]
    about: str


@strawberry.type
class Similar:
    id: int
    title: str
    rating: float


@strawberry.type
class Rating:
    mine: int
    at: str


@strawberry.type
class Query:
    @strawberry.field
    async def details(self, film_id: int) -> Details:
        return Details(**DETAILS)

    @strawberry.field
    async def similar(self, film_id: int) -> list[Similar]:
        return [Similar(**one) for one in SIMILAR]

    @strawberry.field
    async def my_rating(self, film_id: int) -> Rating:
        return Rating(**RATING)


QUERY = (
    "{details(filmId:1){id title year length rating votes genres about}"
    "similar(filmId:1){id title rating}myRating(filmId:1){mine at}}"
)
app = GraphQL(strawberry.Schema(Query))
