"""FastAPI with `asyncio.gather` and response models, as its documentation teaches: checked, and in OpenAPI."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from journeys_peers.document import get_details, get_rating, get_similar
from pydantic import BaseModel

app = FastAPI()


class Details(BaseModel):
    id: int
    title: str
    year: int
    length: int
    rating: float
    votes: int
    genres: list[str]
    about: str


class Similar(BaseModel):
    id: int
    title: str
    rating: float


class Rating(BaseModel):
    mine: int
    at: str


class Film(BaseModel):
    details: Details
    similar: list[Similar]
    my_rating: Rating | None


@app.get("/film/{film_id}")
async def film(film_id: int) -> Film:
    details, similar, rating = await asyncio.gather(
        get_details(film_id), get_similar(film_id), get_rating(film_id)
    )
    return Film(details=details, similar=similar, my_rating=rating)
