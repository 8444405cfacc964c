"""What somebody who looks for a film notices."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from plain import CINEMA, serving

from cinema import catalog
from cinema.load import load, title
from cinema.postgres import Database

pytestmark = pytest.mark.real

GODFATHER = 20545


def test_titles_are_written_as_people_say_them() -> None:
    assert title("Godfather, The") == "The Godfather"
    assert title("Avventura, L'") == "L'Avventura"
    assert title("Good, the Bad and the Ugly, The") == "The Good, the Bad and the Ugly"
    assert title("Me, Myself and I, Inc.") == "Me, Myself and I, Inc."


def test_loading_twice_loads_once(films: str) -> None:
    assert asyncio.run(load(films)) == 0
    told = subprocess.run(
        [sys.executable, "-m", "cinema.load"],
        cwd=CINEMA,
        env={"DATABASE_URL": films},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0 and "the films are there" in told.stdout, told


def test_loading_without_a_database_says_what_is_missing() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "cinema.load"], cwd=CINEMA, env={}, capture_output=True, text=True
    )
    assert told.returncode == 1 and "DATABASE_URL" in told.stderr


def test_a_film(films: str) -> None:
    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films})) as client:
            answer = await client.get(f"/films/{GODFATHER}")
            film = answer.json()
            assert (film["title"], film["year"], film["rating"]) == ("The Godfather", 1972, 9.1)
            assert film["genres"] == ["Drama"] and len(film["spread"]) == 10
            assert "public" in answer.headers["cache-control"]
            assert f"film-{GODFATHER}" in answer.headers["surrogate-key"].split()

            again = await client.get(f"/films/{GODFATHER}", headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304 and not again.content

            similar = (await client.get(f"/films/{GODFATHER}/similar?limit=5")).json()["films"]
            assert len(similar) == 5 and GODFATHER not in [film["id"] for film in similar]
            assert "The Godfather: Part II" in [film["title"] for film in similar]

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/films/58789", "/films/99999999/similar", "/films/2147483647"])
def test_a_film_that_does_not_exist(films: str, path: str) -> None:
    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films})) as client:
            answer = await client.get(path)
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == 404 and "there is no film" in answer.json()["detail"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "path, field",
    [
        ("/films/abc", "film_id"),
        ("/films/0", "film_id"),
        ("/films/99999999999999999999999", "film_id"),
        ("/films/1_0", "film_id"),
        ("/films?limit=0", "limit"),
        ("/films?limit=many", "limit"),
        ("/films?genre=Western", "genre"),
        ("/films?cursor=%00%00", "cursor"),
        ("/films?cursor=bm9uc2Vuc2U", "cursor"),
        ("/films?cursor=bmFuIDE", "cursor"),
        ("/films?q=" + "x" * 201, "q"),
        ("/films?ids=1,two", "ids"),
        ("/top?genre=%27;drop", "genre"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(films: str, path: str, field: str) -> None:
    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films})) as client:
            answer = await client.get(path)
            assert answer.status_code == 422, answer.text
            assert [error["field"] for error in answer.json()["errors"]] == [field]

    asyncio.run(main())


def test_searching(films: str) -> None:
    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films})) as client:

            async def titles(**query: str | int) -> list[str]:
                return [film["title"] for film in (await client.get("/films", params=query)).json()["films"]]

            assert (await titles(q="star wars"))[0] == "Star Wars"
            assert (await titles(q="godf"))[0] == "The Godfather", "the beginning of a word is enough"
            assert "The Shawshank Redemption" in await titles(q="shawshenk redemtion"), "misspelt"
            assert all("star" in title.lower() for title in await titles(q="star", genre="comedy"))
            assert await titles(q="zzzzqqqqxxxx") == []
            assert await titles(q="&|!():*'\\") == [], (
                "what means something to the database means nothing here"
            )
            assert (await titles(q="star & wars"))[0] == "Star Wars"
            assert await titles(ids="20545,48908,99999999") == ["The Godfather", "Star Wars"]

    asyncio.run(main())


@pytest.mark.parametrize("query", ["", "genre=Documentary", "q=love", "q=love&genre=Short"])
def test_pages_follow_each_other_without_a_gap_or_a_repeat(films: str, query: str) -> None:
    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films})) as client:
            seen: list[int] = []
            cursor: str | None = ""
            for _ in range(5):
                answer = await client.get(f"/films?{query}&limit=15&cursor={cursor}")
                page = answer.json()
                seen += [film["id"] for film in page["films"]]
                cursor = page["cursor"]
                assert cursor
            assert len(set(seen)) == 75
            whole = (await client.get(f"/films?{query}&limit=75")).json()
            assert [film["id"] for film in whole["films"]] == seen

    asyncio.run(main())


def test_the_last_page_has_no_cursor(films: str) -> None:
    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films})) as client:
            assert (await client.get("/films?q=shawshank")).json()["cursor"] is None

    asyncio.run(main())


def test_top_lists_are_cached_and_survive_the_cache(films: str, valkey: str) -> None:
    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films, "REDIS_URL": valkey})) as client:
            first = await client.get("/top?genre=Documentary&limit=5")
            assert first.json()["genre"] == "Documentary"
            assert all("Documentary" in film["genres"] for film in first.json()["films"])
            assert "max-age=60" in first.headers["cache-control"]
            assert (await client.get("/top?genre=documentary&limit=5")).content == first.content
            best = (await client.get("/top?limit=3")).json()["films"]
            assert best[0]["title"] == "The Shawshank Redemption", "not a film that five friends liked"
            assert (await client.get("/films/1/similar")).status_code == 200
        async with serving(
            catalog.create({"DATABASE_URL": films, "REDIS_URL": "redis://127.0.0.1:1"})
        ) as client:
            assert (await client.get("/top?genre=Documentary&limit=5")).content == first.content

    asyncio.run(main())


def test_health_and_what_is_not_there(films: str) -> None:
    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films})) as client:
            assert (await client.get("/health")).json() == {"status": "ok"}
            assert (await client.get("/nothing")).headers["content-type"] == "application/problem+json"
            assert (await client.post("/top")).status_code == 405

    asyncio.run(main())


def test_health_says_that_the_database_is_away_and_within_its_deadline(films: str) -> None:
    async def main() -> None:
        there = urlsplit(films)
        hangs = asyncio.Event()

        async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            other, back = await asyncio.open_connection(there.hostname, there.port)

            async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                while (data := await source.read(1 << 16)) and not hangs.is_set():
                    target.write(data)

            await asyncio.gather(pump(reader, back), pump(other, writer))

        server = await asyncio.start_server(passed, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = films.replace(f":{there.port}", f":{port}")
        async with serving(catalog.create({"DATABASE_URL": url})) as client:
            assert (await client.get("/health")).status_code == 200
            hangs.set()
            answer = await client.get("/health", timeout=60)
            assert (answer.status_code, answer.json()["status"]) == (503, "down")
        server.close()

    asyncio.run(main())


def test_a_pool_that_is_entered_again_goes_on(films: str) -> None:
    async def main() -> None:
        database = Database(films, name="test")
        async with database:
            with pytest.raises(ZeroDivisionError):
                async with database:  # a second lifespan, which fails
                    raise ZeroDivisionError
            assert await database.fetch("select 1")
            await database._pool.close()  # as whatever failed may have left it
            assert await database.fetch("select 1")
        async with database:
            await database.check()

    asyncio.run(main())


def test_an_application_without_a_database_says_so() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="catalog needs DATABASE_URL"):
            async with serving(catalog.create({})):
                pass

    asyncio.run(main())


def test_connections_that_the_database_closes_cost_nobody_a_request(films: str) -> None:
    import asyncpg

    async def main() -> None:
        async with serving(catalog.create({"DATABASE_URL": films})) as client:
            assert (await client.get("/films/1")).status_code == 200
            admin = await asyncpg.connect(films)
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'catalog'"
            )
            await admin.close()
            assert (await client.get("/films/1")).status_code == 200
        # Nobody listens at the first address: the second one answers.
        there = films.partition("127.0.0.1:")[2]
        url = f"postgresql://cinema@127.0.0.1:1,127.0.0.1:{there}?target_session_attrs=prefer-standby"
        async with serving(catalog.create({"DATABASE_READ_URL": url})) as client:
            assert (await client.get("/films/1")).status_code == 200

    asyncio.run(main())
