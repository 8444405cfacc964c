"""Ratings: what members think. A rating is a row, an event on the stream, and a place on the leaderboard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cinema import valkey
from cinema.postgres import Database
from cinema.queue import Unavailable
from cinema.stream import Stream, stream
from cinema.web import Problem, application, body, encode, film_id, integer, invalid, json, subject

log = logging.getLogger("cinema.ratings")

# Members vote far less than the Internet did: five ratings make half of a score, the middle (5.5) the rest.
BELIEVED, MIDDLE = 5, 5.5
LEADERBOARD = "ratings:leaderboard"
PLACE = "if redis.call('exists', KEYS[1]) == 1 then redis.call('zadd', KEYS[1], ARGV[1], ARGV[2]) end"
KEPT = 3600
SWEEP = 10.0


class Rating(msgspec.Struct):
    film_id: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    stars: Annotated[int, msgspec.Meta(ge=1, le=10)]
    member: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None


def create(environment: Mapping[str, str]) -> Starlette:
    url = environment.get("DATABASE_URL")
    cache_url = environment.get("REDIS_URL")
    has_stream = any(name in environment for name in ("NATS_URL", "RATINGS_STREAM"))
    ratings: Ratings

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal ratings
        if not cache_url or not has_stream:
            raise RuntimeError("ratings needs REDIS_URL, and NATS_URL or RATINGS_STREAM")
        events, cache = stream(environment, "ratings"), valkey.connect(cache_url)
        await events.open()
        async with Database(url, name="ratings") as database:
            ratings = Ratings(database, cache, events)
            sweeping = asyncio.create_task(ratings.sweep())
            yield
            sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sweeping
        await events.close()
        await cache.aclose()

    async def rate(request: Request) -> Response:
        rating = await body(request, Rating)
        caller = subject(request)
        member = rating.member or caller
        if member is None:
            raise invalid("member", "is missing")
        if caller is not None and member != caller:
            raise Problem(403, "Forbidden", "a rating can only be given in one's own name")
        return json({**await ratings.rate(rating.film_id, member, rating.stars), "yours": rating.stars}, 201)

    async def of_film(request: Request) -> Response:
        id = film_id(request)
        found = await ratings.summary(id)
        member = request.query_params.get("member")
        if member:
            return json({**found, "yours": await ratings.stars(id, member)})
        return json(found, headers={"cache-control": "public, max-age=5", "surrogate-key": f"ratings-{id}"})

    async def leaderboard(request: Request) -> Response:
        limit = integer(request.query_params, "limit", low=1, high=100, default=10)
        by = request.query_params.get("by", "stars")
        if by not in ("stars", "hot"):
            raise invalid("by", "must be stars or hot")
        films = await (ratings.best(limit) if by == "stars" else ratings.hot(limit))
        return json({"by": by, "films": films}, headers={"cache-control": "public, max-age=5"})

    return application(
        [
            Route("/ratings", rate, methods=["POST"]),
            Route("/ratings/{film_id}", of_film),
            Route("/leaderboard", leaderboard),
        ],
        lifespan,
        lambda: ratings.database.check(),
    )


class Ratings:
    """The truth is in the table. What Valkey holds can be lost and is filled again from there."""

    def __init__(self, database: Database, cache: Any, events: Stream) -> None:
        self.database = database
        self.cache = cache
        self.events = events

    async def rate(self, film_id: int, member: str, stars: int) -> dict[str, Any]:
        at = datetime.now(UTC)
        published = await self._publish(film_id, member, stars, at)
        await self.database.execute(
            "insert into ratings (film_id, member, stars, rated_at, published) values ($1, $2, $3, $4, $5)"
            " on conflict (film_id, member) do update set"
            " stars = excluded.stars, rated_at = excluded.rated_at, published = excluded.published"
            " where ratings.rated_at <= excluded.rated_at",
            film_id, member, stars, at, published,
        )  # fmt: skip
        summary = await self._count(film_id)
        with contextlib.suppress(*valkey.Unavailable):
            hot = f"ratings:hot:{at:%Y%m%d%H}"
            async with self.cache.pipeline(transaction=False) as all:
                all.set(f"ratings:film:{film_id}", encode(summary), ex=KEPT)
                # A leaderboard that was evicted is filled again as a whole: one film alone would be taken for it.
                all.eval(PLACE, 1, LEADERBOARD, summary["score"], film_id)
                all.zincrby(hot, 1, str(film_id))
                all.expire(hot, 2 * KEPT)
                await all.execute()
        return summary

    async def summary(self, film_id: int) -> dict[str, Any]:
        with contextlib.suppress(*valkey.Unavailable):
            kept = await self.cache.get(f"ratings:film:{film_id}")
            if kept is not None:
                found: dict[str, Any] = msgspec.json.decode(kept)
                return found
        summary = await self._count(film_id)
        with contextlib.suppress(*valkey.Unavailable):
            # Not over a newer count that a rating has put there meanwhile.
            await self.cache.set(f"ratings:film:{film_id}", encode(summary), ex=KEPT, nx=True)
        return summary

    async def stars(self, film_id: int, member: str) -> int | None:
        row = await self.database.row(
            "select stars from ratings where film_id = $1 and member = $2", film_id, member
        )
        return None if row is None else int(row["stars"])

    async def best(self, limit: int) -> list[dict[str, Any]]:
        with contextlib.suppress(*valkey.Unavailable):
            kept = await self.cache.zrevrange(LEADERBOARD, 0, limit - 1, withscores=True)
            if not kept:
                await self._refill()
                kept = await self.cache.zrevrange(LEADERBOARD, 0, limit - 1, withscores=True)
            return [{"film_id": int(film), "score": round(score, 2)} for film, score in kept]
        return [{"film_id": row["film_id"], "score": row["score"]} for row in await self._scores(limit)]

    async def hot(self, limit: int) -> list[dict[str, Any]]:
        """The films rated most often in this hour. Only Valkey knows; without it there are none."""
        with contextlib.suppress(*valkey.Unavailable):
            kept = await self.cache.zrevrange(
                f"ratings:hot:{datetime.now(UTC):%Y%m%d%H}", 0, limit - 1, withscores=True
            )
            return [{"film_id": int(film), "ratings": int(count)} for film, count in kept]
        return []

    async def sweep(self) -> None:
        """Publish what could not be published when it was given."""
        while True:
            try:
                await self._publish_rest()
            except Exception:
                log.exception("publishing delayed ratings failed; trying again")
            await asyncio.sleep(SWEEP)

    async def _publish_rest(self) -> None:
        rows = await self.database.fetch(
            "select film_id, member, stars, rated_at from ratings"
            " where not published order by rated_at limit 100"
        )
        for row in rows:
            if not await self._publish(*row.values()):
                return
            await self.database.execute(
                "update ratings set published = true where film_id = $1 and member = $2 and rated_at = $3",
                row["film_id"], row["member"], row["rated_at"],
            )  # fmt: skip

    async def _publish(self, film_id: int, member: str, stars: int, at: datetime) -> bool:
        event = encode({"type": "film.rated", "film_id": film_id, "member": member, "stars": stars, "at": at})
        try:
            async with asyncio.timeout(0.5):
                await self.events.publish(str(film_id), event, id=f"{film_id}/{member}/{at.isoformat()}")
            return True
        except Unavailable as error:
            log.warning("the stream is away, the rating will be published later: %r", error)
            return False

    async def _count(self, film_id: int) -> dict[str, Any]:
        rows = await self.database.fetch(
            "select stars, count(*) as votes from ratings where film_id = $1 group by stars", film_id
        )
        spread = [0] * 10
        for row in rows:
            spread[row["stars"] - 1] = row["votes"]
        votes, total = sum(spread), sum(stars * votes for stars, votes in enumerate(spread, 1))
        return {
            "film_id": film_id,
            "votes": votes,
            "average": round(total / votes, 2) if votes else None,
            "score": round((total + BELIEVED * MIDDLE) / (votes + BELIEVED), 2),
            "spread": spread,
        }

    async def _scores(self, limit: int) -> list[Any]:
        return await self.database.fetch(
            "select film_id,"
            " round(((sum(stars) + $2::float8 * $3::float8) / (count(*) + $2::float8))::numeric, 2)::float8"
            " as score"
            " from ratings group by film_id order by score desc, film_id limit $1",
            limit, float(BELIEVED), MIDDLE,
        )  # fmt: skip

    async def _refill(self) -> None:
        rows = await self._scores(1000)
        if rows:
            await self.cache.zadd(LEADERBOARD, {str(row["film_id"]): row["score"] for row in rows})


app = create(dict(os.environ))
