"""One journey of three calls: `FUSED=1` calls services in the same process, else HTTP at `$SERVICES`."""

from __future__ import annotations

import os

from journeys_peers import services

from tierline.journeys import HTTP, Journey, build

film = Journey("film", "/film/{film_id}")


@film.part
async def details(film_id: int, catalog):
    return (await catalog.get("/films/{id}", id=film_id)).json()


@film.part(fallback=[])
async def similar(film_id, recommendations):
    return (await recommendations.get("/similar/{id}", id=film_id)).json()


@film.part(fallback=None)
async def my_rating(film_id, members):
    return (await members.get("/ratings/{id}", id=film_id)).json()


if os.environ.get("FUSED"):
    used = {name: getattr(services, name) for name in ("catalog", "recommendations", "members")}
else:
    used = {
        name: HTTP(os.environ["SERVICES"], name=name) for name in ("catalog", "recommendations", "members")
    }
app = build([film], services=used)
