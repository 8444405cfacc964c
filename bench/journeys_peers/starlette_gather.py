"""Starlette with `asyncio.gather`, written by hand for speed: msgspec encodes, not the standard library."""

from __future__ import annotations

import asyncio

from journeys_peers.document import encode, get_details, get_rating, get_similar
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def film(request: Request) -> Response:
    film_id = int(request.path_params["film_id"])
    details, similar, rating = await asyncio.gather(
        get_details(film_id), get_similar(film_id), get_rating(film_id)
    )
    body = encode({"details": details, "similar": similar, "my_rating": rating})
    return Response(body, media_type="application/json")


app = Starlette(routes=[Route("/film/{film_id}", film)])
