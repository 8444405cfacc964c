"""Journeys called in plain pytest, with failures injected into their parts."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import msgspec
import pytest

from tierline.journeys import (
    HTML,
    Bulkhead,
    Cache,
    Cursor,
    Journey,
    JourneyError,
    NotFound,
    Page,
    build,
    page,
)
from tierline.journeys.service import Call, ServiceReply, Transport
from tierline.journeys.testing import Outcome, ask
from waiting import becomes, eventually

FILMS = {"/films/7": {"id": 7, "title": "Sunrise"}, "/films/7/similar": [8, 9]}


def make_film() -> Journey:
    film = Journey("film", "/film/{film_id}", deadline="2s")

    @film.part
    async def details(film_id: int, catalog):
        return (await catalog.get("/films/{id}", id=film_id)).json()

    @film.part(deadline="60ms", fallback=[])
    async def similar(details, catalog):
        return (await catalog.get("/films/{id}/similar", id=details["id"])).json()

    @film.part(deadline="60ms", fallback=None)
    async def my_rating(film_id, session):
        return session.get(f"rating:{film_id}")

    @film.view("mobile")
    def mobile(details, similar: list[int]):
        return {"t": details["title"], "s": similar}

    @film.view("affiliate")
    def affiliate(details, affiliate):
        return {"title": details["title"], "link": f"/film/{details['id']}?from={affiliate}"}

    @film.view("web")
    def page(details, similar: list[int]) -> HTML:
        return HTML("<h1>{title}</h1>", title=details["title"])

    return film


class Order(msgspec.Struct):
    film: int
    seats: Annotated[int, msgspec.Meta(ge=1)]


def run(awaitable: Any) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(10):
            return await awaitable

    return asyncio.run(main())


def call(journey: Journey, **words: Any) -> Outcome:
    return run(journey.call(**words))


def test_all_three_clients_see_their_own_shape() -> None:
    film = make_film()
    web = call(film, film_id=7, fakes={"catalog": FILMS}, session={"rating:7": 9})
    assert web.body == {"details": FILMS["/films/7"], "similar": [8, 9], "my_rating": 9}
    assert web.headers["cache-control"] == "private, no-cache"
    html = call(film, film_id=7, fakes={"catalog": FILMS}, headers={"accept": "text/html,*/*;q=0.1"})
    assert html.body == "<h1>Sunrise</h1>"
    assert html.headers["content-type"] == "text/html; charset=utf-8"
    mobile = call(film, film_id=7, client="mobile", fakes={"catalog": FILMS})
    assert mobile.body == {"t": "Sunrise", "s": [8, 9]}
    assert "my_rating" not in mobile.parts, "what a view doesn't need is not run"
    partner = call(
        film, film_id=7, client="affiliate", fakes={"catalog": FILMS}, headers={"x-affiliate": "acme"}
    )
    assert partner.body == {"title": "Sunrise", "link": "/film/7?from=acme"}
    assert set(partner.parts) == {"details"}


async def hang() -> Any:
    await asyncio.sleep(600)


async def stubborn() -> Any:
    """Does not listen to being cancelled."""
    for _ in range(20):
        try:
            await asyncio.sleep(0.05)  # slow: longer than its deadline in all
        except asyncio.CancelledError:
            continue


FAILURES: list[Any] = [
    ValueError("no"),
    KeyError("title"),
    NotFound("gone"),
    RecursionError(),
    asyncio.CancelledError(),
    hang,
    stubborn,
    lambda: 1 / 0,
]


@pytest.mark.parametrize("fake", FAILURES, ids=lambda fake: getattr(fake, "__name__", None) or repr(fake))
@pytest.mark.parametrize("part", ["similar", "my_rating"])
def test_a_failing_part_with_a_fallback_degrades_the_answer_and_says_so(part: str, fake: Any) -> None:
    outcome = call(make_film(), film_id=7, fakes={"catalog": FILMS, part: fake}, session={"rating:7": 9})
    assert outcome.status == 200
    assert outcome.degraded == [part]
    (missing,) = outcome.body["degraded"]
    assert (missing["part"], missing["fields"], missing["stale"]) == (part, [part], False)
    assert re.fullmatch("[a-z-]+", missing["why"]) and isinstance(missing["retryable"], bool)
    assert outcome.body[part] == ([] if part == "similar" else None)
    assert outcome.body["details"]["title"] == "Sunrise", "its siblings are unharmed"
    assert outcome.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("fake", "status", "slug"),
    [
        (ValueError("secret"), 500, "part-failed"),
        (NotFound("film 7 is not here"), 404, "not-found"),
        (JourneyError("teapot", status=418), 418, "part-failed"),
        (TimeoutError(), 504, "deadline-exceeded"),
        (asyncio.CancelledError(), 500, "part-failed"),
    ],
)
def test_a_failing_part_without_a_fallback_fails_with_a_problem_that_names_it(
    fake: Any, status: int, slug: str
) -> None:
    outcome = call(make_film(), film_id=7, fakes={"catalog": FILMS, "details": fake})
    assert outcome.status == status
    assert outcome.headers["content-type"] == "application/problem+json"
    assert outcome.problem is not None
    assert outcome.problem["part"] == "details"
    assert outcome.problem["journey"] == "film"
    assert outcome.problem["type"] == f"urn:tierline:problem:{slug}"
    assert "secret" not in str(outcome.problem), "what an exception says may not be for the client"


def test_a_hanging_part_without_a_fallback_ends_at_the_journeys_deadline() -> None:
    film = Journey("film", "/film", deadline="80ms")

    @film.part
    async def slow():
        await asyncio.sleep(600)

    outcome = call(film)
    assert outcome.status == 504
    assert outcome.problem and outcome.problem["part"] == "slow"


def test_the_caller_may_bring_less_time() -> None:
    film = Journey("film", "/film", deadline="5s")

    @film.part(fallback="late")
    async def slow():
        await asyncio.sleep(600)

    outcome = call(film, headers={"x-request-deadline-ms": "50"})
    why = {"why": "deadline-exceeded", "retryable": True, "stale": False}
    assert outcome.body == {"slow": "late", "degraded": [{"part": "slow", "fields": ["slow"], **why}]}


@pytest.mark.parametrize("value", [{1, 2}, "text", 5, object()])
def test_a_part_that_returns_another_type_than_it_says_is_named(value: Any) -> None:
    film = Journey("film", "/film")

    @film.part
    async def details() -> dict[str, Any]:
        return value

    outcome = call(film)
    assert outcome.status == 500
    assert outcome.problem and "part 'details' returned" in outcome.problem["detail"]


def test_a_part_that_returns_what_cannot_be_sent_is_named() -> None:
    film = Journey("film", "/film")

    @film.part
    async def fine():
        return 1

    @film.part
    async def broken():
        return {"a": object()}

    outcome = call(film)
    assert outcome.status == 500
    assert outcome.problem and outcome.problem["part"] == "broken"


@pytest.mark.parametrize("fallback", [True, False])
def test_a_part_of_50_megabytes_is_contained(fallback: bool) -> None:
    film = Journey("film", "/film")
    words: dict[str, Any] = {"fallback": "short"} if fallback else {}

    @film.part(**words)
    async def huge():
        return "x" * 50_000_000

    @film.part
    async def fine():
        return 1

    outcome = call(film)
    if fallback:
        why = {"why": "too-large", "retryable": False, "stale": False}
        missing = [{"part": "huge", "fields": ["huge"], **why}]
        assert outcome.body == {"huge": "short", "fine": 1, "degraded": missing}
    else:
        assert outcome.status == 502
        assert outcome.problem and outcome.problem["part"] == "huge"
        assert len(str(outcome.problem)) < 1000


def test_nothing_waits_for_a_sibling_that_it_does_not_need() -> None:
    film = Journey("film", "/film", deadline="60s")
    order: list[str] = []

    @film.part
    async def slow():
        assert await becomes(lambda: "after_quick" in order)
        order.append("slow")

    @film.part
    async def quick():
        await asyncio.sleep(0)
        order.append("quick")

    @film.part
    async def after_quick(quick):
        await asyncio.sleep(0)
        order.append("after_quick")

    call(film)
    assert order == ["quick", "after_quick", "slow"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"film_id": "abc"}, "film_id"),
        ({"limit": 0}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"after": "??"}, "after"),
    ],
)
def test_bad_parameters_are_told_each_with_why(values: dict[str, Any], field: str) -> None:
    film = Journey("film", "/film/{film_id}")

    @film.part
    async def found(
        film_id: int, limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10, after: Cursor | None = None
    ):
        return limit

    outcome = call(film, **{"film_id": 1, **values})
    assert outcome.status == 422
    assert outcome.problem and [error["field"] for error in outcome.problem["errors"]] == [field]
    assert outcome.problem["errors"][0]["why"]


def test_all_bad_parameters_are_told_at_once_and_a_missing_one_too() -> None:
    film = Journey("film", "/film/{film_id}")

    @film.part
    async def found(film_id: int, q: str, limit: int = 1):
        return q

    outcome = call(film, film_id="x", limit="y")
    assert outcome.problem and {error["field"] for error in outcome.problem["errors"]} == {
        "film_id",
        "q",
        "limit",
    }


def test_unknown_clients_and_media_are_told_what_exists() -> None:
    film = make_film()
    outcome = call(film, film_id=7, client="fridge", fakes={"catalog": FILMS})
    assert outcome.status == 406
    assert outcome.problem and outcome.problem["clients"] == ["web", "mobile", "affiliate"]
    outcome = call(film, film_id=7, fakes={"catalog": FILMS}, headers={"accept": "image/png"})
    assert outcome.status == 406
    assert outcome.problem and outcome.problem["media"] == ["application/json", "text/html"]


def test_unknown_journeys_and_methods_are_told_what_exists() -> None:
    application = build([make_film()], services={"catalog": object()})
    lost = run(ask(application, "GET", "/flim/7", {}, None, Outcome()))
    assert lost.status == 404
    assert lost.problem["journeys"] == [{"name": "film", "path": "/film/{film_id}"}]
    wrong = run(ask(application, "DELETE", "/film/7", {}, None, Outcome()))
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET")


def test_fields_select_and_skip_what_nobody_asked_for() -> None:
    film = make_film()
    outcome = call(film, film_id=7, fakes={"catalog": FILMS}, fields="details.title")
    assert outcome.body == {"details": {"title": "Sunrise"}}
    assert set(outcome.parts) == {"details"}
    outcome = call(film, film_id=7, fakes={"catalog": FILMS}, fields="details.titel")
    assert outcome.status == 422
    assert "details.titel" in str(outcome.problem)


def test_etag_and_cache_control_come_from_the_parts() -> None:
    film = Journey("film", "/film/{film_id}")

    @film.part(cache=Cache("60s", stale="5m", keys=["film:{film_id}"]))
    async def details(film_id: int):
        return film_id

    @film.part(cache=Cache("10s", stale="1m"))
    async def top():
        return 1

    @film.part
    async def both(details, top):
        return [details, top]

    first = call(film, film_id=7)
    assert first.headers["cache-control"] == "public, max-age=10, stale-while-revalidate=60"
    assert first.headers["surrogate-key"] == "film film:7"
    assert first.headers["vary"] == "x-client"
    again = call(
        film, film_id=7, headers={"if-none-match": '"other", ' + first.headers["etag"].removeprefix("W/")}
    )
    assert (again.status, again.body) == (304, "")
    assert "content-length" not in again.headers


def test_views_by_version_and_language() -> None:
    film = Journey("film", "/film")

    @film.part
    async def title(locale):
        return {"en": "Sunrise", "de": "Sonnenaufgang"}.get(locale, "?")

    @film.view("mobile")
    def old(title):
        return {"t": title}

    @film.view("mobile", since="3.2")
    def new(title):
        return {"title": title}

    assert call(film, client="mobile").body == {"t": "Sunrise"}
    assert call(film, client="mobile", headers={"x-app-version": "3.1.9"}).body == {"t": "Sunrise"}
    assert call(film, client="mobile", headers={"x-app-version": "3.10"}).body == {"title": "Sunrise"}
    german = call(film, client="mobile", locale="de", headers={"x-app-version": "4"})
    assert german.body == {"title": "Sonnenaufgang"}
    assert german.headers["vary"] == "x-client, x-app-version, accept-language"


def test_pages_by_cursor() -> None:
    films = list(range(1, 24))
    search = Journey("search", "/search")

    @search.part
    async def found(after: Cursor | None = None, size: int = 10) -> Page[int]:
        start = after.values[0] if after else 0
        return page([film for film in films if film > start][: size + 1], size, lambda film: film)

    seen: list[int] = []
    cursor: dict[str, Any] = {}
    for _ in range(3):
        body = call(search, **cursor).body["found"]
        seen += body["items"]
        cursor = {"after": body["next"]}
    assert seen == films
    assert cursor == {"after": None}


def test_equal_calls_of_one_request_are_made_once_and_a_batch_asks_once() -> None:
    film = Journey("film", "/film")
    asked: list[Any] = []

    @film.batch(most=3)
    async def poster_of(ids: list[int], catalog):
        asked.append(list(ids))
        return {id: f"{id}.jpg" for id in ids if id != 5}

    @film.part
    async def one(catalog, poster_of):
        await asyncio.sleep(0)
        return (await catalog.get("/films/7")).json(), await poster_of.many([1, 2, 1])

    @film.part
    async def two(catalog, poster_of):
        await asyncio.sleep(0)
        return (await catalog.get("/films/7")).json(), await poster_of(2)

    @film.part(fallback="missing")
    async def three(poster_of):
        return await poster_of(5)

    def slow(_target: str) -> Any:
        asked.append("films")
        return asyncio.sleep(0.01, {"id": 7})  # slow: the others ask meanwhile

    outcome = call(film, fakes={"catalog": {"/films/7": slow}})
    assert outcome.body["one"] == [{"id": 7}, ["1.jpg", "2.jpg", "1.jpg"]]
    assert outcome.body["two"] == [{"id": 7}, "2.jpg"]
    assert outcome.degraded == ["three"]
    assert asked.count("films") == 1
    assert sorted(key for keys in asked if keys != "films" for key in keys) == [1, 2, 5]


def test_retries_hedges_and_bulkheads() -> None:
    tries: list[int] = []
    calls: list[int] = []
    film = Journey("film", "/film")
    weak = Bulkhead(1)

    @film.part(retries=2)
    async def flaky():
        tries.append(1)
        if len(tries) < 3:
            raise OSError("again")
        return "third"

    @film.part(hedge="20ms")
    async def hedged():
        calls.append(1)
        if len(calls) == 1:
            await asyncio.sleep(600)
        return f"call {len(calls)}"

    @film.part(bulkhead=weak, fallback="full")
    async def first():
        await asyncio.sleep(0.02)  # slow: the other begins meanwhile
        return "in"

    @film.part(bulkhead=weak, fallback="full")
    async def second():
        await asyncio.sleep(0.02)  # slow: the other begins meanwhile
        return "in"

    outcome = call(film)
    assert outcome.body["flaky"] == "third"
    assert outcome.body["hedged"] == "call 2"
    assert [outcome.body["first"], outcome.body["second"]] == ["in", "full"]
    assert outcome.degraded == ["second"]
    assert weak.running == 0


def test_a_clear_no_is_not_tried_again() -> None:
    tries: list[int] = []
    film = Journey("film", "/film")

    @film.part(retries=3)
    async def details():
        tries.append(1)
        raise NotFound("no")

    assert call(film).status == 404
    assert len(tries) == 1


def test_fakes_that_do_not_fit_are_told() -> None:
    with pytest.raises(AssertionError, match="did you mean 'details'"):
        call(make_film(), film_id=7, fakes={"detials": 1})
    with pytest.raises(TypeError, match="film_id"):
        call(make_film())


def test_sync_parts_keyword_only_parameters_and_bodies() -> None:
    order = Journey("order", "/order", methods=["POST"])

    @order.part
    def total(*, body: Order):
        return body.seats * 10

    outcome = call(order, body={"film": 1, "seats": 2})
    assert outcome.body == {"total": 20}
    assert outcome.headers["cache-control"] == "no-store"
    bad = call(order, body={"film": 1, "seats": 0})
    assert bad.status == 422
    assert bad.problem and bad.problem["errors"][0]["field"] == "seats"
    assert call(order).status == 422


class Film(msgspec.Struct):
    id: int
    title: str = "?"


def test_plain_data_stands_in_for_a_part_that_returns_a_struct() -> None:
    film = Journey("film", "/film")

    @film.part
    async def details(catalog) -> Film: ...

    @film.part
    def title(details: Film) -> str:
        return details.title

    assert call(film, fakes={"details": {"id": 1, "title": "Sunrise"}}).body["title"] == "Sunrise"
    assert call(film, fakes={"details": Film(1)}).body["title"] == "?"
    assert call(film, fakes={"details": "no film"}).problem["part"] == "details"


def test_a_part_that_blocks_the_event_loop_is_told_by_name(caplog: pytest.LogCaptureFixture) -> None:
    film = Journey("film", "/film")

    @film.part
    async def sleeper():
        # The mistake itself, for as long as nobody has noticed.
        eventually(lambda: any("blocks" in record.getMessage() for record in caplog.records))

    async def main() -> None:
        application = build([film])
        await application.start()
        await ask(application, "GET", "/film", {}, None, Outcome())
        await application.stop()

    run(main())
    line = sleeper.__code__.co_firstlineno + 3
    (message,) = [said for r in caplog.records if "blocks" in (said := r.getMessage()) and "sleeper" in said]
    assert message.startswith(f"part 'sleeper' of journey 'film' ({__file__}:{line}) blocks the event loop")


def test_a_part_has_not_the_deadline_of_what_it_needed() -> None:
    screen = Journey("screen", "/screen", deadline="60s")
    left: list[float] = []

    class Service(Transport):
        async def request(self, call: Call) -> ServiceReply:
            await asyncio.sleep(0)
            left.append(call.within)
            return ServiceReply(200, [], b"1")

    @screen.part(deadline="5s")
    async def first(service) -> int:
        return (await service.get("/first")).json()

    @screen.part
    async def second(first: int, service) -> int:
        return (await service.get("/second")).json()

    app = build([screen], services={"service": Service()})
    assert run(ask(app, "GET", "/screen", {}, None, Outcome())).status == 200
    assert left[0] <= 5 < 30 < left[1]


def test_a_look_up_has_its_own_deadline_and_else_that_of_the_most_patient() -> None:
    screen = Journey("screen", "/screen", deadline="60s")
    left: list[float] = []

    class Service(Transport):
        async def request(self, call: Call) -> ServiceReply:
            left.append(call.within)
            return ServiceReply(200, [], b"1")

    @screen.batch()
    async def of(keys: list[int], service) -> dict[int, int]:
        return dict.fromkeys(keys, (await service.get("/of")).json())

    @screen.batch(deadline="20ms")
    async def slow_of(keys: list[int]) -> dict[int, int]:
        await asyncio.sleep(600)
        return {}

    @screen.part(deadline="5s")
    async def hasty(of) -> int:
        return await of(1)

    @screen.part
    async def patient(of) -> int:
        return await of(2)

    @screen.part(fallback=0)
    async def slow(slow_of) -> int:
        return await slow_of(1)

    app = build([screen], services={"service": Service()})
    outcome = run(ask(app, "GET", "/screen", {}, None, Outcome()))
    assert outcome.degraded == ["slow"] and outcome.body["degraded"][0]["fields"] == ["slow"]
    assert {name: outcome.body[name] for name in outcome.parts if name in outcome.body} == {
        "hasty": 1,
        "patient": 1,
        "slow": 0,
    }
    assert len(left) == 1 and left[0] > 30
