"""FastAPI with `asyncio.gather`, its answer a dict without an annotation: the path by `jsonable_encoder`."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from journeys_peers.document import get_details, get_rating, get_similar

app = FastAPI()


@app.get("/film/{film_id}")
async def film(film_id: int):
    details, similar, rating = await asyncio.gather(
        get_details(film_id), get_similar(film_id), get_rating(film_id)
    )
    return {"details": details, "similar": similar, "my_rating": rating}
