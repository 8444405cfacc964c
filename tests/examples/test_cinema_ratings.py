"""What somebody who rates a film notices, and what the stream and the leaderboard get."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import nats
import pytest
from plain import serving

from cinema import ratings
from cinema import valkey as cache

pytestmark = pytest.mark.real


@pytest.fixture
def environment(accounts: str, valkey: str, nats_url: str) -> dict[str, str]:
    async def empty() -> None:
        connection = await asyncpg.connect(accounts)
        await connection.execute("truncate ratings")
        await connection.close()
        client = cache.connect(valkey)
        await client.flushdb()
        await client.aclose()

    asyncio.run(empty())
    return {
        "DATABASE_URL": accounts,
        "REDIS_URL": valkey,
        "NATS_URL": nats_url,
        "RATINGS_SUBJECT": "film.ratings",
    }


def test_rating_a_film(environment: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(ratings.create(environment)) as client:
            nobody = (await client.get("/ratings/7")).json()
            assert (nobody["votes"], nobody["average"]) == (0, None)
            for member, stars in (("ada", 9), ("grace", 6), ("ada", 10)):
                answer = await client.post("/ratings", json={"film_id": 7, "stars": stars, "member": member})
                assert answer.status_code == 201
            assert answer.json()["yours"] == 10
            found = (await client.get("/ratings/7?member=ada")).json()
            assert (found["votes"], found["average"], found["yours"]) == (2, 8.0, 10), (
                "the last rating counts"
            )
            assert found["spread"] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]

    asyncio.run(main())


def test_the_leaderboard(environment: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(ratings.create(environment)) as client:
            await client.post("/ratings", json={"film_id": 1, "stars": 10, "member": "a"})
            for member in "abcde":
                await client.post("/ratings", json={"film_id": 2, "stars": 9, "member": member})
            await client.post("/ratings", json={"film_id": 3, "stars": 2, "member": "a"})
            board = (await client.get("/leaderboard")).json()["films"]
            assert [film["film_id"] for film in board] == [2, 1, 3], "five nines count more than one ten"
            hot = (await client.get("/leaderboard?by=hot&limit=1")).json()["films"]
            assert hot == [{"film_id": 2, "ratings": 5}]
            # The cache loses everything: the leaderboard comes back from the table.
            client_of_cache = cache.connect(environment["REDIS_URL"])
            await client_of_cache.flushdb()
            await client_of_cache.aclose()
            assert (await client.get("/leaderboard")).json()["films"] == board
            assert (await client.get("/ratings/2")).json()["votes"] == 5
        async with serving(ratings.create({**environment, "REDIS_URL": "redis://127.0.0.1:1"})) as client:
            assert (await client.get("/leaderboard")).json()["films"] == board
            assert (
                await client.post("/ratings", json={"film_id": 9, "stars": 1, "member": "a"})
            ).status_code == 201

    asyncio.run(main())


def test_every_rating_is_an_event(environment: dict[str, str]) -> None:
    async def main() -> None:
        connection = await nats.connect(environment["NATS_URL"])
        async with serving(ratings.create(environment)) as client:
            await client.post("/ratings", json={"film_id": 4242, "stars": 8, "member": "ada"})
        jetstream = connection.jetstream()
        subscription = await jetstream.subscribe("film.ratings.4242")
        event = json.loads((await subscription.next_msg(2)).data)
        assert (event["type"], event["film_id"], event["stars"]) == ("film.rated", 4242, 8)
        await connection.close()

    asyncio.run(main())


def test_a_rating_given_while_the_stream_is_away_is_published_later(environment: dict[str, str]) -> None:
    class Stream:
        away = True
        events: list[tuple[str, str]] = []

        async def open(self) -> None: ...
        async def close(self) -> None: ...
        async def publish(self, key: str, event: bytes, *, id: str) -> None:
            if self.away:
                raise nats.errors.NoRespondersError
            self.events.append((key, id))

    async def main() -> None:
        from cinema.postgres import Database

        stream = Stream()
        async with Database(environment["DATABASE_URL"], name="test") as database:
            service = ratings.Ratings(database, cache.connect("redis://127.0.0.1:1"), stream)
            assert (await service.rate(11, "ada", 9))["votes"] == 1
            assert not stream.events
            stream.away = False
            await service._publish_rest()
            await service._publish_rest()
            assert [key for key, _ in stream.events] == ["11"], "once"

    asyncio.run(main())


@pytest.mark.parametrize(
    "body, status, field",
    [
        ({"film_id": 1, "stars": 0, "member": "a"}, 422, "stars"),
        ({"film_id": 1, "stars": 11, "member": "a"}, 422, "stars"),
        ({"film_id": 1, "stars": "5", "member": "a"}, 422, "stars"),
        ({"film_id": 0, "stars": 5, "member": "a"}, 422, "film_id"),
        ({"film_id": 1, "stars": 5}, 422, "member"),
        ({"stars": 5, "member": "a"}, 422, "film_id"),
    ],
)
def test_nonsense_is_refused(
    environment: dict[str, str], body: dict[str, object], status: int, field: str
) -> None:
    async def main() -> None:
        async with serving(ratings.create(environment)) as client:
            answer = await client.post("/ratings", json=body)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field), answer.text
            assert (await client.get("/leaderboard?by=luck")).status_code == 422

    asyncio.run(main())


def test_one_rates_in_ones_own_name(environment: dict[str, str]) -> None:
    import jwt

    async def main() -> None:
        token = jwt.encode({"sub": "7", "name": "Ada"}, "x" * 32)
        async with serving(ratings.create(environment)) as client:
            headers = {"authorization": f"Bearer {token}"}
            assert (
                await client.post("/ratings", json={"film_id": 1, "stars": 5}, headers=headers)
            ).status_code == 201
            other = {"film_id": 1, "stars": 5, "member": "8"}
            assert (await client.post("/ratings", json=other, headers=headers)).status_code == 403

    asyncio.run(main())
