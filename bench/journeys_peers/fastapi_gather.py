"""FastAPI with `asyncio.gather`, as its documentation writes it."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI

from journeys_peers.document import get_details, get_rating, get_similar

app = FastAPI()


@app.get("/film/{film_id}")
async def film(film_id: int) -> dict[str, Any]:
    details, similar, rating = await asyncio.gather(
        get_details(film_id), get_similar(film_id), get_rating(film_id)
    )
    return {"details": details, "similar": similar, "my_rating": rating}
