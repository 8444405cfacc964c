"""Each part of each of the cinema's journeys failing in each way: contained, named, its siblings unharmed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from plain import CINEMA, serving

import journeys
from cinema import catalog
from tierline.journeys import HTTP, Journey, build
from tierline.journeys.policy import MISSING
from tierline.journeys.testing import Outcome
from waiting import PATIENCE, becomes

assert CINEMA
BRIEF = {
    "id": 1,
    "title": "One",
    "year": 1999,
    "minutes": 90,
    "rating": 7.0,
    "votes": 10,
    "genres": ["Drama"],
}
FILM = {**BRIEF, "budget": None, "mpaa": None, "score": 6.0, "spread": [0.0] * 10}
ORDER = {
    "id": "o1", "film_id": 1, "seats": 2, "email": "ada@example.com", "total": "25.00", "currency": "EUR",
    "status": "placed", "created_at": "2026-01-01T00:00:00Z", "paid_at": None, "receipt_at": None,
}  # fmt: skip
SERVICES = {
    "catalog": {
        "/films/1": FILM,
        "/films/1/similar": {"films": [BRIEF]},
        "/top": {"genre": "Drama", "films": [BRIEF]},
        "/films": {"films": [BRIEF], "cursor": None},
    },
    "ratings": {
        "/ratings/1": {"votes": 1, "average": 9.0, "spread": [0] * 10},
        "/leaderboard": {"films": [{"film_id": 1, "score": 9.0}]},
    },
    "orders": {"POST /orders": ORDER},
}
STOPPED = {"__steps": {"tickets": {"reached": {"film": {"path": "/film/1", "at": 1.0}}}}}
WORDS: dict[str, dict[str, Any]] = {
    "home": {},
    "film": {"film_id": 1},
    "search": {"q": "one"},
    "checkout": {"identity": {"sub": "7"}, "body": {"film_id": 1, "seats": 2, "email": "ada@example.com"}},
    "resume": {"session": STOPPED},
    "join": {"identity": {"sub": "7"}, "session": STOPPED},
}
JOURNEYS: dict[str, Journey] = {
    journey.name: journey
    for journey in (
        journeys.home, journeys.film, journeys.search, journeys.checkout, journeys.resume, journeys.join,
    )
}  # fmt: skip
CLIENTS = ("web", "mobile", "affiliate")


def ask(name: str, client: str, fakes: dict[str, Any], **more: Any) -> Outcome:
    journey = JOURNEYS[name]
    services = {key: value for key, value in SERVICES.items() if key in journey.needs}

    async def main() -> Outcome:
        return await journey.call(client=client, fakes={**services, **fakes}, **WORDS[name], **more)

    return asyncio.run(main())


async def boom() -> Any:
    raise RuntimeError("boom")


async def hang() -> Any:
    await asyncio.sleep(600)


HUGE = "x" * 50_000_000


def huge(value: Any) -> Any:
    """The value with 50 MB in it, and still of its type."""
    if isinstance(value, list):
        return [huge(value[0]), *value[1:]] if isinstance(value[0], dict) else value[:1] * 25_000_000
    fields = {key: inner for key, inner in value.items() if isinstance(inner, (str, list)) and inner}
    name = "title" if "title" in fields else next(iter(fields), "note")
    given = fields.get(name)
    return {**value, name: huge(given) if isinstance(given, list) else HUGE}


def cases() -> list[Any]:
    found = []
    for name, journey in JOURNEYS.items():
        for part in journey.parts:
            for client in CLIENTS:
                found += [
                    pytest.param(name, part, client, how, id=f"{name}-{part}-{client}-{how}")
                    for how in ("raises", "hangs", "wrong-type", "50-mb")
                    if (part, how) != ("member", "50-mb")  # a session, and no data
                ]
    return found


# What the client's view leaves out of a part harms nobody, however large it is.
NOT_SENT = {
    ("film", "members_say", "mobile"),
    *(("checkout", "buyer", client) for client in CLIENTS),
    *(("checkout", "wanted", client) for client in ("mobile", "affiliate")),
}


@pytest.fixture(scope="module")
def whole() -> dict[tuple[str, str], Outcome]:
    """Every answer as it is when nothing fails."""
    found = {(name, client): ask(name, client, {}) for name in JOURNEYS for client in CLIENTS}
    for outcome in found.values():
        assert outcome.status == 200 and not outcome.degraded, outcome
    return found


@pytest.mark.parametrize("name, part, client, how", cases())
def test_a_failing_part_is_contained(
    name: str, part: str, client: str, how: str, whole: dict[tuple[str, str], Outcome]
) -> None:
    good = whole[name, client]
    if part not in good.parts:
        outcome = ask(name, client, {part: boom})
        assert outcome.body == good.body, "a part that this client's view does not need is not even called"
        return
    fake = {"raises": boom, "hangs": hang, "wrong-type": 7}.get(how)
    if how == "50-mb":
        fake = huge(good.parts[part])
    limit = {"x-request-deadline-ms": "200"} if how == "hangs" else {}
    outcome = ask(name, client, {part: fake}, headers=limit)
    if how == "50-mb" and outcome.body == good.body:
        assert (name, part, client) in NOT_SENT
        return
    if JOURNEYS[name].parts[part].policy.fallback is not MISSING:
        assert outcome.status == 200
        assert outcome.degraded == [part] == [each["part"] for each in outcome.body["degraded"]]
        assert outcome.headers["x-tierline-degraded"] == part
        assert outcome.headers["cache-control"] == "no-store", "half an answer must not be kept"
        # What only the failing part needs is not run when that is faked.
        siblings = {
            key for key in good.parts if key in outcome.parts and key not in (part, "session", "steps")
        }
        assert siblings or len(JOURNEYS[name].parts) == 2
        assert {key: outcome.parts[key] for key in siblings} == {key: good.parts[key] for key in siblings}
    else:
        assert outcome.problem is not None, outcome
        assert outcome.problem["part"] == part and outcome.problem["journey"] == name
        assert outcome.status == {"raises": 500, "hangs": 504, "wrong-type": 500, "50-mb": 502}[how]
        assert "boom" not in str(outcome.problem), "what an exception says is logged, not sent"


@pytest.mark.parametrize("how", ["raises", "hangs", "wrong-type"])
@pytest.mark.parametrize(
    "name, part", [(name, part) for name in ("home", "film", "search") for part in JOURNEYS[name].parts]
)
def test_a_stream_delivers_the_siblings_of_a_failing_part(name: str, part: str, how: str) -> None:
    fake = {"raises": boom, "hangs": hang, "wrong-type": 7}[how]
    within = "1500" if how == "hangs" else "20000"  # the siblings' time, on the slowest machine
    events = ask(name, "web", {part: fake}, headers={"x-request-deadline-ms": within}, stream="").body
    whole = ask(name, "web", {}, stream="").body
    good = {event["part"]: event for event in whole if event["event"] == "part"}
    parts = {event["part"]: event for event in events if event["event"] == "part"}
    for sibling in set(good) - {part}:
        assert parts[sibling] == good[sibling]
    end = events[-1]
    if JOURNEYS[name].parts[part].policy.fallback is not MISSING:
        assert parts[part]["degraded"] == end["degraded"] and end["degraded"][0]["part"] == part
    else:
        (problem,) = [event for event in events if event["event"] == "problem"]
        assert problem["part"] == part
    assert end["event"] == "end"


def leaves(application: Any, path: str, once: Callable[[], object]) -> Any:
    """A client that goes away."""
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}

    async def receive() -> Any:
        await becomes(once)
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None: ...

    return application(scope, receive, send)


@pytest.mark.parametrize("path", ["/home", "/film/1", "/search"])
def test_who_leaves_cancels_the_parts_and_no_connection_stays_behind(path: str) -> None:
    async def main() -> None:
        open_now = asked = 0

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_now, asked
            open_now += 1
            try:
                await reader.readuntil(b"\r\n\r\n")
                asked += 1
                await reader.read()
            finally:
                open_now -= 1
                writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ways = {name: HTTP(where, name=name) for name in ("catalog", "ratings")}
        application = build([journeys.home, journeys.film, journeys.search], services=ways)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(leaves(application, path, lambda: asked >= 20) for _ in range(20)))
        assert await becomes(lambda: open_now == 0), "the services know that nobody waits any more"
        for way in ways.values():
            (address,) = way.addresses
            assert (address.open, address.busy, len(address.idle)) == (0, 0, 0)
        assert not application.engine.unwinding
        await application.stop()
        server.close()

    asyncio.run(main())


@pytest.mark.real
def test_who_leaves_while_the_database_is_locked_leaves_no_connection_behind(films: str) -> None:
    """The services in the same process: a part that is cancelled cancels the query, whose connection goes back."""

    async def main() -> None:
        service = catalog.create({"DATABASE_URL": films})
        application = build([journeys.search], services={"catalog": service})
        other = await asyncpg.connect(films)
        await other.execute("set application_name = 'elsewhere'")

        async def busy() -> int:
            return int(await other.fetchval(
                "select count(*) from pg_stat_activity where application_name = 'catalog' and state = 'active'"
            ))  # fmt: skip

        async with service.router.lifespan_context(service):
            locked = other.transaction()
            await locked.start()
            await other.execute("lock table films in access exclusive mode")

            def going() -> Callable[[], bool]:
                until = time.monotonic() + 0.1
                return lambda: time.monotonic() > until

            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(leaves(application, "/search", going()) for _ in range(12)))
            await locked.rollback()

            async def free() -> bool:
                return not await busy() and not application.engine.unwinding

            assert await becomes(free)
            assert await busy() == 0
            assert not application.engine.unwinding
            async with serving(service) as client:
                replies = await asyncio.gather(*(client.get("/films?limit=1") for _ in range(12)))
            assert [reply.status_code for reply in replies] == [200] * 12, (
                "every connection can be used again"
            )
        await other.close()

    asyncio.run(main())
