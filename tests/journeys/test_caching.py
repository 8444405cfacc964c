"""A part's answer used again: fresh, stale, shared, per user, and when the store is gone."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypedDict

import pytest

from tierline.errors import StackError
from tierline.journeys import Cache, Cursor, Journey, MemoryStore, NotFound, RedisStore, build
from tierline.journeys.cached import Cached
from tierline.journeys.paging import sign_with
from tierline.journeys.testing import Outcome, ask
from waiting import becomes


class Made(TypedDict):
    price: Decimal
    at: datetime
    tags: set[str]


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tierline.journeys.cached.time", clock)
    return clock


async def get(application: Any, target: str, **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(application, "GET", target, named, None, Outcome())


def counting(
    policy: Cache, calls: list[Any], *, personal: bool = False, broken: list[bool] | None = None
) -> Journey:
    film = Journey("film", "/film/{film_id}")

    async def work(film_id: int) -> dict[str, int]:
        calls.append(film_id)
        await asyncio.sleep(0.005)  # slow: others ask meanwhile
        if broken and broken[0]:
            raise OSError("down")
        return {"id": film_id, "call": len(calls)}

    if personal:

        @film.part(cache=policy)
        async def details(film_id: int, identity) -> dict[str, int]:
            return await work(film_id)
    else:

        @film.part(cache=policy)
        async def details(film_id: int) -> dict[str, int]:
            return await work(film_id)

    return film


def test_a_fresh_answer_is_used_again_and_equal_calls_are_made_once(clock: Clock) -> None:
    calls: list[Any] = []

    async def main() -> None:
        application = build([counting(Cache("60s"), calls)])
        several = await asyncio.gather(*(get(application, "/film/1") for _ in range(10)))
        assert {outcome.body["details"]["call"] for outcome in several} == {1}
        assert calls == [1]
        clock.now += 59
        assert (await get(application, "/film/1")).body["details"]["call"] == 1
        assert (await get(application, "/film/2")).body["details"]["call"] == 2
        clock.now += 2
        assert (await get(application, "/film/1")).body["details"]["call"] == 3

    asyncio.run(main())


def test_a_stale_answer_is_given_while_one_call_refreshes_it(clock: Clock) -> None:
    calls: list[Any] = []

    async def main() -> None:
        application = build([counting(Cache("10s", stale="60s"), calls)])
        await get(application, "/film/1")
        clock.now += 30
        stale = await asyncio.gather(*(get(application, "/film/1") for _ in range(5)))
        assert {outcome.body["details"]["call"] for outcome in stale} == {1}

        async def refreshed() -> bool:
            return bool((await get(application, "/film/1")).body["details"]["call"] == 2)

        assert await becomes(refreshed)
        assert calls == [1, 1]
        await application.stop()

    asyncio.run(main())


def test_an_old_answer_stands_in_for_a_failing_part(clock: Clock) -> None:
    calls: list[Any] = []
    broken = [False]

    async def main() -> None:
        application = build([counting(Cache("10s", stale_if_error="1h"), calls, broken=broken)])
        await get(application, "/film/1")
        broken[0] = True
        clock.now += 100
        assert (await get(application, "/film/1")).body["details"]["call"] == 1
        clock.now += 4000
        assert (await get(application, "/film/1")).status == 500

    asyncio.run(main())


def test_per_user_is_never_anothers(clock: Clock) -> None:
    calls: list[Any] = []

    async def main() -> None:
        application = build([counting(Cache("60s", per="user"), calls, personal=True)])
        seen = []
        for user in ("ann", "bob", "ann"):
            outcome = await get(application, "/film/1", x_tierline_claims=f'{{"sub":"{user}"}}')
            seen.append(outcome.body["details"]["call"])
            assert outcome.headers["cache-control"] == "private, max-age=60"
        assert seen == [1, 2, 1]

    asyncio.run(main())


def test_a_visitor_nobody_knows_gets_nothing_of_anothers(clock: Clock) -> None:
    calls: list[Any] = []

    async def main() -> None:
        application = build([counting(Cache("60s", per="user"), calls, personal=True)])
        for _ in range(3):
            await get(application, "/film/1")
        assert calls == [1, 1, 1], "without an owner nothing is kept"

    asyncio.run(main())


def test_errors_are_not_kept() -> None:
    tries: list[int] = []
    film = Journey("film", "/film")

    @film.part(cache="60s")
    async def details():
        tries.append(1)
        if len(tries) == 1:
            raise NotFound("not yet")
        return "here"

    async def main() -> None:
        application = build([film])
        assert (await get(application, "/film")).status == 404
        assert (await get(application, "/film")).body == {"details": "here"}

    asyncio.run(main())


def test_who_gives_up_does_not_cancel_the_call_for_the_others() -> None:
    calls: list[Any] = []
    held = asyncio.Event()
    film = Journey("film", "/film/{film_id}")

    @film.part(cache="60s")
    async def details(film_id: int):
        calls.append("begun")
        try:
            await held.wait()
        except asyncio.CancelledError:
            calls.append("cancelled")
            raise
        return film_id

    async def main() -> None:
        application = build([film])
        first = asyncio.ensure_future(get(application, "/film/50"))
        second = asyncio.ensure_future(get(application, "/film/50"))
        assert await becomes(lambda: calls == ["begun"])
        first.cancel()
        await asyncio.wait([first])
        held.set()
        assert (await second).body == {"details": 50}
        assert calls == ["begun"]
        held.clear()
        last = asyncio.ensure_future(get(application, "/film/51"))
        assert await becomes(lambda: calls == ["begun", "begun"])
        last.cancel()
        assert await becomes(lambda: calls[-1] == "cancelled"), "the last one does"
        assert calls == ["begun", "begun", "cancelled"] and last.done()

    asyncio.run(main())


def test_the_memory_store_expires_and_stays_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tierline.journeys.store.time", clock)

    async def main() -> None:
        store = MemoryStore(most_bytes=1000)
        for n in range(50):
            await store.put(f"key-{n}", b"x" * 94, 60)
        kept = [n for n in range(50) if await store.get(f"key-{n}")]
        assert kept == list(range(40, 50))
        await store.put("short", b"x", 5)
        assert await store.get("short") == b"x"
        clock.now += 6
        assert await store.get("short") is None
        await store.put("huge", b"x" * 2000, 60)
        assert await store.get("huge") is None
        assert await store.get("key-49")

    asyncio.run(main())


def test_a_store_that_is_gone_counts_as_empty_and_is_left_alone() -> None:
    calls: list[Any] = []

    async def main() -> None:
        store = RedisStore("redis://127.0.0.1:1")
        cached = Cached(store)
        application = build([counting(Cache("60s"), calls)], cache=cached)
        for _ in range(3):
            assert (await get(application, "/film/1")).status == 200
        assert calls == [1, 1, 1]
        await application.stop()

    asyncio.run(main())


def test_two_processes_share_what_is_kept_in_valkey(valkey: str) -> None:
    calls: list[Any] = []

    async def main() -> None:
        one = build([counting(Cache("60s"), calls)], cache=valkey, session=valkey)
        other = build([counting(Cache("60s"), calls)], cache=valkey, session=valkey)
        first = await get(one, "/film/1")
        assert (await get(other, "/film/1")).body == first.body
        assert calls == [1]
        store = RedisStore(valkey)
        await store.put("brief", b"x", 0.02)
        assert await store.get("brief") == b"x"
        await store.drop("brief")
        assert await store.get("brief") is None
        for each in (one, other):
            await each.stop()
        await store.close()

    asyncio.run(main())


def test_sessions_are_shared_in_valkey(valkey: str) -> None:
    page = Journey("page", "/page")

    @page.part
    def visits(session):
        session["visits"] = session.get("visits", 0) + 1
        return session["visits"]

    async def main() -> None:
        one, other = build([page], session=valkey), build([page], session=valkey)
        first = await get(one, "/page")
        again = await get(other, "/page", x_session=first.headers["x-session"])
        assert again.body == {"visits": 2}
        for each in (one, other):
            await each.stop()

    asyncio.run(main())


def test_a_cache_that_is_full_still_gives_what_it_has(valkey: str) -> None:
    """Refused to write, it isn't left alone: what it kept before is used."""
    import redis as client

    calls: list[Any] = []

    async def main() -> None:
        server = client.Redis.from_url(valkey)
        application = build([counting(Cache("60s"), calls)], cache=valkey)
        first = await get(application, "/film/71")
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", "1")
        try:
            for _ in range(3):
                assert (await get(application, "/film/72")).status == 200
                assert (await get(application, "/film/71")).body == first.body
            assert calls == [71, 72, 72, 72]
        finally:
            server.config_set("maxmemory", "0")
        await application.stop()

    asyncio.run(main())


def test_a_cache_that_goes_away_costs_no_answer() -> None:
    """It hangs, then nobody listens: answers come, late by its timeout once, and then at once."""
    calls: list[Any] = []

    async def main() -> None:
        silent = await asyncio.start_server(lambda *_: asyncio.sleep(3600), "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        application = build([counting(Cache("60s"), calls)], cache=f"redis://127.0.0.1:{port}")
        for _ in range(20):
            assert (await get(application, "/film/1")).status == 200
        silent.close()
        assert (await get(application, "/film/1")).status == 200
        await application.stop()

    asyncio.run(main())


def test_sessions_that_are_full_cost_a_step_and_no_answer(
    valkey: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis as client

    page = Journey("page", "/page")

    @page.part
    def visits(session):
        session["visits"] = session.get("visits", 0) + 1
        return session["visits"]

    async def main() -> None:
        server = client.Redis.from_url(valkey)
        application = build([page], session=valkey)
        first = await get(application, "/page")
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", "1")
        try:
            for _ in range(5):
                answer = await get(application, "/page")
                assert answer.body == {"visits": 1} and "x-session" not in answer.headers
                again = await get(application, "/page", x_session=first.headers["x-session"])
                assert again.body == {"visits": 2}, "who has a session is still known"
        finally:
            server.config_set("maxmemory", "0")
        await application.stop()

    asyncio.run(main())
    (said,) = [each.getMessage() for each in caplog.records if "could not be saved" in each.getMessage()]
    assert "maxmemory" in said


@pytest.mark.parametrize("typed", [True, False])
def test_a_hit_has_the_type_of_a_miss_or_is_not_cached(typed: bool, caplog: pytest.LogCaptureFixture) -> None:
    made = {"price": Decimal("1.20"), "at": datetime(2026, 1, 2, tzinfo=UTC), "tags": {"a", "b"}}
    seen: list[Any] = []
    calls: list[int] = []
    film = Journey("film", "/film")

    async def details():
        calls.append(1)
        return made

    details.__annotations__ = {"return": Made} if typed else {}
    film.part(cache="60s")(details)

    @film.view("web")
    def web(details):
        seen.append(details)
        return 1

    async def main() -> None:
        app = build([film])
        for _ in range(2):
            await get(app, "/film")

    asyncio.run(main())
    assert seen == [made, made] and [type(each["price"]) for each in seen] == [Decimal, Decimal]
    assert len(calls) == (1 if typed else 2)
    assert ("part details is not cached" in caplog.text) == (not typed)


def test_what_cannot_be_stored_is_refused_when_built() -> None:
    film = Journey("film", "/film")

    @film.part(cache="60s")
    async def details() -> Clock:
        return Clock()

    with pytest.raises(StackError, match="part 'details' returns is cached, and Clock can't be stored"):
        build([film])


def test_a_copys_age_goes_with_it_and_a_stale_one_is_degraded(clock: Clock) -> None:
    broken = [False]
    calls: list[Any] = []

    async def main() -> None:
        app = build([counting(Cache("60s", stale_if_error="1h"), calls, broken=broken)])
        assert "age" not in (await get(app, "/film/1")).headers
        clock.now += 25
        hit = await get(app, "/film/1")
        assert hit.headers["age"] == "25" and "max-age=60" in hit.headers["cache-control"]
        clock.now += 60
        broken[0] = True
        stale = await get(app, "/film/1")
        assert stale.status == 200 and stale.degraded == ["details"]
        assert stale.headers["cache-control"] == "no-store"
        (told,) = stale.body["degraded"]
        assert (told["fields"], told["why"]) == (["details"], "part-failed")
        assert (told["stale"], told["age"]) == (True, 85)

    asyncio.run(main())


shared_calls: list[str] = []


async def shared_part(film_id: int) -> int:
    shared_calls.append("called")
    return film_id


def test_a_part_of_two_journeys_is_made_and_kept_once() -> None:
    shared_calls.clear()
    one, two = Journey("one", "/one/{film_id}"), Journey("two", "/two/{film_id}")
    for journey in (one, two):
        journey.part(cache="60s", name="shown")(shared_part)

    async def main() -> None:
        app = build([one, two])
        assert (await get(app, "/one/3")).body == (await get(app, "/two/3")).body == {"shown": 3}

    asyncio.run(main())
    assert shared_calls == ["called"]


def test_what_is_fetched_with_the_callers_fields_is_kept_by_them() -> None:
    async def service(scope: Any, receive: Any, send: Any) -> None:
        sent = dict(scope["headers"])
        said = [sent.get(name, b"").decode() for name in (b"authorization", b"accept-language")]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})

    page = Journey("page", "/page")

    @page.part(cache="60s")
    async def shown(service) -> list[str]:
        return (await service.get("/")).json()

    async def main() -> None:
        app = build(
            [page], services={"service": service}, forward={"service": ["Authorization", "accept-language"]}
        )
        for token in ("a", "b", "a"):
            for language in ("de", "fr"):
                outcome = await get(app, "/page", authorization=token, accept_language=language)
                assert outcome.body == {"shown": [token, language]}
                assert outcome.headers["cache-control"] == "private, max-age=60"
                assert "accept-language" in outcome.headers["vary"]

    asyncio.run(main())
    with pytest.raises(StackError, match="there is no service 'servce', did you mean 'service'"):
        build([page], services={"service": service}, forward={"servce": ["authorization"]})
    with pytest.raises(StackError, match="'host' is not a field that can be passed on"):
        build([page], services={"service": service}, forward={"service": ["Host"]})


def test_a_request_that_calls_without_end_is_told() -> None:
    async def service(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"1"})

    page = Journey("page", "/page", most_calls=20)

    @page.part
    async def prices(service):
        return [(await service.get("/price", id=number)).json() for number in range(1000)]

    async def main() -> None:
        outcome = await get(build([page], services={"service": service}), "/page")
        assert outcome.problem is not None and outcome.problem["part"] == "prices"
        assert "more than 20 calls" in outcome.problem["detail"]

    asyncio.run(main())


@pytest.mark.parametrize("kind", [Cursor, Cursor[int, str]])
def test_a_cursor_is_signed_and_typed(kind: Any) -> None:
    page = Journey("page", "/page")

    async def found(after: Any = None):
        return None if after is None else list(after.values)

    found.__annotations__ = {"after": kind | None}
    page.part(found)
    sign_with("another")
    foreign = str(Cursor(7, "x"))

    async def main() -> None:
        app = build([page], secret="one")
        good = str(Cursor(7, "x"))
        assert (await get(app, f"/page?after={good}")).body == {"found": [7, "x"]}
        wrong = [good[:-1], "A" + good[1:], good.partition(".")[0], "", "x" * 5000, "é", foreign]
        if kind is not Cursor:
            wrong += [str(Cursor("7", "x")), str(Cursor(7)), str(Cursor(7, "x", 1))]
        for text in wrong:
            assert (await get(app, f"/page?after={text}")).status == 422, text

    asyncio.run(main())


def test_what_is_made_of_what_a_caller_may_not_have_is_kept_apart() -> None:
    home = Journey("home", "/home")

    @home.part(requires="admin", fallback="nothing", hidden=True)
    async def secret() -> str:
        return "the secret"

    @home.part(cache="60s")
    async def shown(secret: str) -> str:
        return secret

    async def main() -> None:
        app = build([home])
        for _ in range(2):
            admin = await get(app, "/home", x_tierline_claims='{"sub":"ada","scope":"admin"}')
            assert admin.body == {"shown": "the secret"}
            assert (await get(app, "/home")).body == {"shown": "nothing"}

    asyncio.run(main())


def test_what_is_made_of_a_fallback_is_not_kept() -> None:
    home = Journey("home", "/home")
    broken = [True]

    @home.part(fallback="fallback", hidden=True)
    async def base() -> str:
        if broken[0]:
            raise OSError("down")
        return "good"

    @home.part(cache="60s")
    async def shown(base: str) -> str:
        return base

    async def main() -> None:
        app = build([home])
        degraded = await get(app, "/home")
        (missing,) = degraded.body.pop("degraded")
        assert degraded.body == {"shown": "fallback"}
        assert missing["part"] == "base" and missing["fields"] == ["shown"], "the field that is made of it"
        broken[0] = False
        assert (await get(app, "/home")).body == {"shown": "good"}

    asyncio.run(main())


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    async def top(self) -> str:
        return self.name


def top_of(name: str) -> Any:
    async def top() -> str:
        return name

    top.__qualname__ = "top"
    return top


@pytest.mark.parametrize("make", [lambda name: Shop(name).top, top_of])
def test_functions_that_only_share_a_name_share_no_values(make: Any) -> None:
    journeys = []
    for name in ("one", "two"):
        journey = Journey(name, f"/{name}")
        journey.part(cache="60s", name="top")(make(name))
        journeys.append(journey)

    async def main() -> None:
        app = build(journeys)
        assert [(await get(app, f"/{name}")).body["top"] for name in ("one", "two")] == ["one", "two"]

    asyncio.run(main())


def test_a_token_that_may_do_less_has_values_of_its_own() -> None:
    home = Journey("home", "/home")
    calls: list[Any] = []

    @home.part(cache=Cache("60s", per="user"))
    async def mine(identity) -> str:
        calls.append(identity)
        return str(identity.get("scope", ""))

    async def main() -> None:
        app = build([home])
        for claims, says in (
            ({"sub": "ada", "scope": "all", "exp": 1}, "all"),
            ({"sub": "ada"}, ""),
            ({"scope": "all", "sub": "ada", "exp": 2}, "all"),
        ):
            assert (await get(app, "/home", x_tierline_claims=json.dumps(claims))).body == {"mine": says}

    asyncio.run(main())
    assert len(calls) == 2, "the user's next token with the same claims finds what is kept"
