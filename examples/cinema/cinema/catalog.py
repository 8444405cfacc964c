"""The catalog: find films, look one up, the best ones, similar ones.

Reads only, and on the replica when there is one.
"""
# ruff: noqa: S608  what is put into SQL texts is the constant BRIEF

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from math import isfinite
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cinema import valkey
from cinema.postgres import Database
from cinema.web import application, cacheable, encode, film_id, integer, invalid, not_found

GENRES = ("Action", "Animation", "Comedy", "Documentary", "Drama", "Romance", "Short")
# What a list shows of a film; the film's own page shows everything.
BRIEF = "id, title, year, minutes, round(rating::numeric, 1)::float8 as rating, votes, genres"
KEPT = 60
# How alike a word must be to count as misspelt: at 0.6, the default, two swapped letters are too many.
ALIKE = {"pg_trgm.word_similarity_threshold": "0.4"}


def create(environment: Mapping[str, str]) -> Starlette:
    url = environment.get("DATABASE_READ_URL") or environment.get("DATABASE_URL")
    cache_url = environment.get("REDIS_URL")
    catalog: Catalog

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal catalog
        cache = valkey.connect(cache_url) if cache_url else None
        async with Database(url, name="catalog", settings=ALIKE) as database:
            catalog = Catalog(database, cache)
            yield
        if cache:
            await cache.aclose()

    async def film(request: Request) -> Response:
        id = film_id(request)
        found = await catalog.film(id)
        if found is None:
            raise not_found(f"there is no film {id}")
        return cacheable(request, encode(found), max_age=300, stale=3600, keys=f"film-{id} films")

    async def similar(request: Request) -> Response:
        id = film_id(request)
        limit = integer(request.query_params, "limit", low=1, high=50, default=8)
        found = await catalog.similar(id, limit)
        if found is None:
            raise not_found(f"there is no film {id}")
        return cacheable(request, found, max_age=300, stale=3600, keys=f"film-{id} films")

    async def films(request: Request) -> Response:
        query = request.query_params
        limit = integer(query, "limit", low=1, high=100, default=20)
        if "ids" in query:
            body = encode({"films": await catalog.some(_ids(query["ids"])), "cursor": None})
        else:
            text = query.get("q", "").strip()
            if len(text) > 200:
                raise invalid("q", "must have at most 200 characters")
            found, cursor = await catalog.search(text, _genre(query), _cursor(query.get("cursor")), limit)
            body = encode({"films": found, "cursor": cursor})
        return cacheable(request, body, max_age=60, stale=600, keys="films")

    async def top(request: Request) -> Response:
        limit = integer(request.query_params, "limit", low=1, high=100, default=20)
        body = await catalog.top(_genre(request.query_params), limit)
        return cacheable(request, body, max_age=KEPT, stale=600, keys="top films")

    return application(
        [
            Route("/films", films),
            Route("/films/{film_id}", film),
            Route("/films/{film_id}/similar", similar),
            Route("/top", top),
        ],
        lifespan,
        lambda: catalog.database.check(),
    )


class Catalog:
    def __init__(self, database: Database, cache: Any) -> None:
        self.database = database
        self.cache = cache

    async def film(self, id: int) -> dict[str, Any] | None:
        # By primary key: as quick as asking the cache would be, and never stale.
        row = await self.database.row(
            f"select {BRIEF}, budget, mpaa, round(score::numeric, 2)::float8 as score, spread"
            " from films where id = $1",
            id,
        )
        return None if row is None else dict(row)

    async def some(self, ids: list[int]) -> list[dict[str, Any]]:
        """The films that exist, in the order that was asked for."""
        rows = await self.database.fetch(f"select {BRIEF} from films where id = any($1::int[])", ids)
        found = {row["id"]: dict(row) for row in rows}
        return [found[id] for id in ids if id in found]

    async def search(
        self, text: str, genre: str | None, after: tuple[float, int] | None, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Films, and the cursor to the next ones: the last film's key and id, which inserts do not shift."""
        if not text:
            rows = await self._best(genre, after or (float("inf"), 0), limit + 1)
        else:
            rows = await self._matching(text, genre, after or (2**31 - 1, 0), limit + 1)
            if not rows and after is None:
                return await self._resembling(text, genre, limit), None
        cursor = None
        if len(rows) > limit:
            last = rows[limit - 1]
            cursor = base64.urlsafe_b64encode(f"{last['key']!r} {last['id']}".encode()).decode().rstrip("=")
        return [{name: value for name, value in row.items() if name != "key"} for row in rows[:limit]], cursor

    async def _best(self, genre: str | None, after: tuple[float, int], limit: int) -> list[Any]:
        if genre is None:
            return await self.database.fetch(
                f"select {BRIEF}, score as key from films where score <= $1 and (score < $1 or id > $2)"
                " order by score desc, id limit $3",
                *after, limit,
            )  # fmt: skip
        return await self.database.fetch(
            f"select {BRIEF}, g.score as key from film_genres g join films on id = film_id"
            " where genre = $4 and g.score <= $1 and (g.score < $1 or film_id > $2)"
            " order by g.score desc, film_id limit $3",
            *after, limit, genre,
        )  # fmt: skip

    async def _matching(
        self, text: str, genre: str | None, after: tuple[float, int], limit: int
    ) -> list[Any]:
        """What most people mean first. All words must occur; the last one may be a beginning."""
        words = re.findall(r"\w+", text.lower())
        if not words:
            return []
        query = " & ".join([f"'{word}'" for word in words]) + ":*"
        return await self.database.fetch(
            f"select {BRIEF}, votes as key from films where words @@ to_tsquery('simple', $4)"
            " and ($5::text is null or genres @> array[$5]) and votes <= $1 and (votes < $1 or id > $2)"
            " order by votes desc, id limit $3",
            int(after[0]), after[1], limit, query, genre,
        )  # fmt: skip

    async def _resembling(self, text: str, genre: str | None, limit: int) -> list[dict[str, Any]]:
        """Nothing matched: perhaps it is misspelt."""
        rows = await self.database.fetch(
            f"select {BRIEF} from films where $1 <% title and ($2::text is null or genres @> array[$2])"
            " order by round(word_similarity($1, title)::numeric, 1) desc, votes desc, id limit $3",
            text, genre, limit,
        )  # fmt: skip
        return [dict(row) for row in rows]

    async def top(self, genre: str | None, limit: int) -> Any:
        async def ask() -> bytes:
            rows, _ = await self.search("", genre, None, limit)
            return encode({"genre": genre, "films": rows})

        return await self._kept(f"catalog:top:{genre or 'all'}:{limit}", ask)

    async def similar(self, id: int, limit: int) -> Any:
        """Films with the same genres, the best and the nearest in time first."""

        async def ask() -> bytes | None:
            rows = await self.database.fetch(
                f"""
                with this as (select id, genres, year from films where id = $1),
                alike as (
                    select films.* from films, this
                    where films.genres = this.genres and films.id <> this.id
                    order by films.score desc, films.id limit 300
                )
                select {BRIEF} from alike
                order by score - 0.04 * abs(year - (select year from this)) desc, id limit $2
                """,
                id, limit,
            )  # fmt: skip
            if not rows and await self.film(id) is None:
                return None
            return encode({"film_id": id, "films": [dict(row) for row in rows]})

        return await self._kept(f"catalog:similar:{id}:{limit}", ask)

    async def _kept(self, key: str, ask: Any) -> Any:
        """The answer from the cache, or asked for and kept. Without the cache it is slower, not broken."""
        if self.cache is None:
            return await ask()
        try:
            kept = await self.cache.get(key)
        except valkey.Unavailable:
            return await ask()
        if kept is not None:
            return kept
        answer = await ask()
        if answer is not None:
            with suppress(*valkey.Unavailable):
                await self.cache.set(key, answer, ex=KEPT)
        return answer


def _genre(query: Mapping[str, str]) -> str | None:
    given = query.get("genre", "").strip()
    if not given:
        return None
    for genre in GENRES:
        if genre.lower() == given.lower():
            return genre
    raise invalid("genre", f"must be one of {', '.join(GENRES)}")


def _ids(given: str) -> list[int]:
    parts = given.split(",")
    if len(parts) > 100:
        raise invalid("ids", "must be at most 100")
    return [integer({"ids": part.strip()}, "ids", low=1, high=2**31 - 1) for part in parts if part.strip()]


def _cursor(given: str | None) -> tuple[float, int] | None:
    if not given:
        return None
    try:
        key, id = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4)).decode("ascii").split(" ")
        if not isfinite(value := float(key)) or not 0 <= int(id) < 2**31:
            raise ValueError
        return value, int(id)
    except (binascii.Error, ValueError):
        raise invalid("cursor", "is not one that this service gave") from None


app = create(dict(os.environ))
