"""The cinema's screens, as each client sees them, on the real services and with parts of them failing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest

import journeys
from cinema import catalog, orders, ratings
from ports import free_port
from tierline.journeys import build

pytestmark = pytest.mark.real

FILM = {
    "id": 1, "title": "One", "year": 1999, "minutes": 90, "rating": 7.0, "votes": 10, "genres": ["Drama"],
    "budget": None, "mpaa": None, "score": 6.0, "spread": [0.0] * 10,
}  # fmt: skip


@asynccontextmanager
async def experience(
    environment: dict[str, str], films: str, on_event: Any = None
) -> AsyncIterator[httpx.AsyncClient]:
    services = {
        "catalog": catalog.create({"DATABASE_URL": films, "REDIS_URL": environment["REDIS_URL"]}),
        "ratings": ratings.create(environment),
        "orders": orders.create(environment),
    }
    application = build(
        [journeys.home, journeys.film, journeys.search, journeys.checkout, journeys.resume, journeys.join],
        services=services,
        trust_bearer=True,
        on_event=on_event,
    )
    async with AsyncExitStack() as stack:
        for service in services.values():
            await stack.enter_async_context(service.router.lifespan_context(service))
        transport = httpx.ASGITransport(application)
        yield await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://cinema.test")
        )


@pytest.fixture
def environment(accounts: str, valkey: str, nats_url: str) -> dict[str, str]:
    return {
        "DATABASE_URL": accounts,
        "REDIS_URL": valkey,
        "NATS_URL": nats_url,
        "RATINGS_SUBJECT": "screens",
        "ORDERS_SUBJECT": "screen-orders",
        "SMTP_URL": f"smtp://127.0.0.1:{free_port()}",
    }


def test_the_screens_of_every_client(environment: dict[str, str], films: str) -> None:
    async def main() -> None:
        async with experience(environment, films) as client:

            async def ask(path: str, kind: str) -> Any:
                answer = await client.get(path, headers={"x-client": kind})
                assert answer.status_code == 200, answer.text
                assert answer.headers["cache-control"].startswith("public, max-age=60"), path
                assert "x-tierline-degraded" not in answer.headers
                return answer.json()

            home = await ask("/home", "web")
            assert home["top"][0]["title"] == "The Shawshank Redemption"
            assert [row["genre"] for row in home["genres"]] == list(journeys.GENRES)
            assert home["top"][0]["poster"] == f"/posters/{home['top'][0]['id']}.svg"
            assert len((await ask("/home", "mobile"))["top"]) == 6
            assert set((await ask("/home", "affiliate"))["films"][0]) == {"id", "title", "year", "link"}

            film = await ask("/film/20545", "web")
            assert film["film"]["title"] == "The Godfather" and len(film["similar"]) == 8
            assert film["members"]["votes"] == 0
            assert "budget" not in (await ask("/film/20545", "mobile"))["film"]
            assert set(await ask("/film/20545", "affiliate")) == {"film"}

            page = await ask("/search?q=star&limit=5", "web")
            more = await ask(f"/search?q=star&limit=5&cursor={page['cursor']}", "web")
            assert len({film["id"] for film in page["films"] + more["films"]}) == 10
            assert (await ask("/search?q=godfahter", "mobile"))["films"][0]["title"].startswith(
                "The Godfather"
            )

            for path, status in (("/film/99999999", 404), ("/film/x", 422), ("/search?genre=Western", 422)):
                assert (await client.get(path)).status_code == status, path

    asyncio.run(main())


def test_buying_tickets(environment: dict[str, str], films: str) -> None:
    async def main() -> None:
        token = jwt.encode({"sub": "7", "name": "Ada"}, "x" * 32)
        wanted = {"film_id": 20545, "seats": 2, "email": "ada@example.com"}
        headers = {"authorization": f"Bearer {token}", "idempotency-key": str(uuid.uuid4())}
        async with experience(environment, films) as client:
            assert (await client.post("/checkout", json=wanted)).status_code == 401
            answer = await client.post("/checkout", json=wanted, headers=headers)
            assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
            bought = answer.json()
            assert (bought["order"]["total"], bought["film"]["title"]) == ("25.00", "The Godfather")
            assert bought["status"] == f"/orders/{bought['order']['id']}"
            again = await client.post("/checkout", json=wanted, headers=headers)
            assert again.json()["order"]["id"] == bought["order"]["id"]
            for change, status in (
                ({"film_id": 99999999}, 404),
                ({"seats": 11}, 422),
                ({"email": "nobody"}, 422),
            ):
                refused = await client.post(
                    "/checkout", json={**wanted, **change}, headers={"authorization": f"Bearer {token}"}
                )
                assert refused.status_code == status, refused.text
            assert [(each["field"], each["in"]) for each in refused.json()["errors"]] == [("email", "body")]

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["web", "mobile", "affiliate"])
def test_the_way_to_tickets_on_two_devices(environment: dict[str, str], films: str, kind: str) -> None:
    events: list[dict[str, Any]] = []

    async def main() -> None:
        token = {"authorization": f"Bearer {jwt.encode({'sub': uuid.uuid4().hex}, 'x' * 32)}"}
        async with experience(environment, films, events.append) as client:

            def device() -> httpx.AsyncClient:
                return httpx.AsyncClient(
                    transport=client._transport, base_url=client.base_url, headers={"x-client": kind}
                )

            async with device() as laptop, device() as phone:
                for path in ("/home?stream", "/film/20545?stream"):
                    answer = await laptop.get(path, headers={"accept": "text/event-stream"})
                    assert answer.headers["cache-control"] == "no-store"
                    assert answer.text.rstrip().endswith('data: {"degraded":[],"skipped":[]}')
                shared = await laptop.get("/film/20545")
                assert (
                    shared.headers["cache-control"].startswith("public")
                    and "set-cookie" not in shared.headers
                )
                assert (await laptop.get("/resume")).json()["going_on"]["film"]["title"] == "The Godfather"
                assert (await laptop.post("/join", headers=token)).json()["going_on"]["path"] == "/film/20545"

                assert (await phone.post("/join")).status_code == 401
                await phone.get("/home?stream")
                assert (await phone.get("/resume")).json() == {"going_on": None}
                joined = await phone.post("/join", headers=token)
                assert joined.json()["going_on"]["film"]["title"] == "The Godfather"
                # Without the token: the device stands for the member now.
                await phone.get("/film/20545?stream")
                wanted = {"film_id": 20545, "seats": 1, "email": "ada@example.com"}
                bought = await phone.post("/checkout", json=wanted, headers=token)
                assert bought.headers["x-tierline-step"] == "tickets;3/3"
                assert (await laptop.get("/resume")).json() == {"going_on": None}

    asyncio.run(main())
    reached = [(event["step"], event["previous"], event["client"]) for event in events]
    assert reached == [
        ("home", "", kind), ("film", "home", kind), ("film", "film", kind),
        ("home", "", kind), ("film", "home", kind), ("checkout", "film", kind),
    ]  # fmt: skip
    assert {event["funnel"] for event in events} == {"tickets"}


CATALOG = {
    "/films/1": FILM,
    "/films/1/similar": {"films": [FILM]},
    "/top": {"genre": "Drama", "films": [FILM]},
    "/films": {"films": [FILM], "cursor": None},
}
RATINGS = {
    "/ratings/1": {"votes": 1, "average": 9.0, "spread": [0] * 10},
    "/leaderboard": {"films": [{"film_id": 1, "score": 9.0}]},
}
AWAY = (503, {"title": "Unavailable"})


@pytest.mark.parametrize("kind", ["web", "mobile"])
@pytest.mark.parametrize(
    "part, catalog, ratings",
    [("similar", {"/films/1/similar": AWAY}, {}), ("members_say", {}, {"/ratings/1": AWAY})],
)
def test_a_film_page_without_one_of_its_parts(
    kind: str, part: str, catalog: dict[str, Any], ratings: dict[str, Any]
) -> None:
    fakes = {"catalog": {**CATALOG, **catalog}, "ratings": {**RATINGS, **ratings}}
    outcome = asyncio.run(journeys.film.call(film_id=1, client=kind, fakes=fakes))
    assert outcome.status == 200 and outcome.degraded == [part]
    assert outcome.body["film"]["title"] == "One"
    assert outcome.headers["cache-control"] == "no-store", "half an answer must not be kept"


def test_a_home_page_without_the_ratings() -> None:
    fakes = {"catalog": CATALOG, "ratings": {"/leaderboard": AWAY}}
    outcome = asyncio.run(journeys.home.call(fakes=fakes))
    assert outcome.status == 200 and outcome.degraded == ["loved"] and outcome.body["top"][0]["id"] == 1


def test_a_film_page_without_the_film() -> None:
    fakes = {"catalog": {**CATALOG, "/films/1": AWAY}, "ratings": RATINGS}
    outcome = asyncio.run(journeys.film.call(film_id=1, fakes=fakes))
    assert outcome.status == 502 and outcome.problem is not None and "catalog" in outcome.problem["detail"]
