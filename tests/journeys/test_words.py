"""Each word of a part does what the page says of it. The service is a real one, which counts what it is asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from counted import Counted, counted, within
from serving import granian

from tierline.journeys import Bulkhead, Cache, Journey
from tierline.journeys.app import Experience

HANGS = {"ms": 60_000}
DOWN = {"status": 503}
CLAIMS = "x-tierline-claims"


class Clock:
    """The time of the caches, which passes when told."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tierline.journeys.cached.time", clock)
    return clock


@pytest.fixture(scope="module")
def service() -> Iterator[Counted]:
    with granian("counting:app") as address, counted(address) as found:
        yield found


@pytest.fixture
def shop(service: Counted) -> Counted:
    service.set({})
    return service


def film(path: str = "/details", **words: Any) -> Journey:
    """A journey whose only part asks the service once, and says these words."""
    found = Journey("film", "/film/{film_id}", deadline="20s")

    @found.part(**words)
    async def details(film_id: int, shop) -> dict[str, str] | None:
        return (await shop.get(path, id=film_id)).json()

    return found


def session(app: Experience, *steps: Any) -> None:
    async def main() -> None:
        try:
            for step in steps:
                await step()
        finally:
            await app.stop()

    within(main())


async def refreshed(app: Experience) -> None:
    """What is made anew beside requests has been made, or has failed."""
    for task in list(app.engine.cached._calls.values()):  # type: ignore[union-attr]
        await asyncio.wait([task])
    await asyncio.sleep(0)


async def metrics(app: Experience) -> str:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return (await client.get("/-/metrics")).text


def test_deadline_ends_a_part(shop: Counted) -> None:
    shop.set({"/details": [HANGS]})
    outcome = shop.ask(film(deadline="100ms"), "/film/1")
    assert outcome.status == 504 and outcome.problem and outcome.problem["part"] == "details"


def test_a_journeys_deadline_and_the_callers_bound_all_parts(shop: Counted) -> None:
    shop.set({"/details": [HANGS]})
    journey = film()
    assert shop.ask(journey, "/film/1", headers={"x-request-deadline-ms": "100"}).status == 504
    journey.deadline = 0.1
    assert shop.ask(journey, "/film/1").status == 504


@pytest.mark.parametrize(
    ("manner", "why", "retryable"),
    [
        (HANGS, "deadline-exceeded", True),
        (DOWN, "service-failed", True),
        ({"status": 500}, "service-failed", False),
        ({"status": 404}, "service-refused", False),
        ({"status": 429, "headers": {"retry-after": "9"}}, "service-refused", True),
    ],
)
def test_fallback_stands_in_and_the_answer_says_why(
    shop: Counted, manner: dict[str, Any], why: str, retryable: bool
) -> None:
    shop.set({"/details": [manner]})
    outcome = shop.ask(film(deadline="300ms", fallback={"id": "?"}), "/film/1")
    (missing,) = outcome.body["degraded"]
    assert outcome.status == 200 and outcome.body["details"] == {"id": "?"}
    assert missing == {
        "part": "details",
        "fields": ["details"],
        "why": why,
        "retryable": retryable,
        "stale": False,
    }
    assert outcome.headers["x-tierline-degraded"] == "details"
    assert outcome.headers["cache-control"] == "no-store"


def test_nothing_of_the_service_is_in_what_is_missing(shop: Counted) -> None:
    shop.set({"/details": [{"status": 500, "body": {"detail": "password=hunter2 at db7"}}]})
    outcome = shop.ask(film(fallback=None), "/film/1")
    text = str(outcome.body["degraded"])
    assert "hunter2" not in text and shop.address not in text and "db7" not in text


def test_retries_try_again_but_not_after_a_clear_no(shop: Counted) -> None:
    shop.set({"/details": [DOWN, DOWN, {}]})
    assert shop.ask(film(retries=2), "/film/1").status == 200
    assert shop.asked() == {"GET /details": 3}
    shop.set({"/details": [{"status": 404}]})
    assert shop.ask(film(retries=2), "/film/1").status == 404
    assert shop.asked() == {"GET /details": 1}


def test_retries_wait_as_long_as_the_service_says(shop: Counted) -> None:
    shop.set({"/details": [{"status": 429, "headers": {"retry-after": "1"}}, {}]})
    began = time.monotonic()
    assert shop.ask(film(retries=1), "/film/1").status == 200
    assert shop.asked() == {"GET /details": 2} and time.monotonic() - began >= 1
    shop.set({"/details": [{"status": 503, "headers": {"retry-after": "60"}}]})
    late = shop.ask(film(retries=1), "/film/1")
    assert late.headers["retry-after"] == "60", "too late for this request: the client is told"


def test_retries_do_not_send_a_write_twice(shop: Counted) -> None:
    order = Journey("order", "/order", methods=["POST"], deadline="20s")

    @order.part(retries=2)
    async def placed(shop) -> dict[str, str]:
        return (await shop.post("/orders")).json()

    shop.set({"/orders": [DOWN]})
    assert shop.ask(order, "/order", method="POST").status == 502
    assert shop.asked() == {"POST /orders": 1}


def test_hedge_asks_a_second_time_when_the_first_is_slow(shop: Counted) -> None:
    shop.set({"/details": [HANGS, {}]})
    assert shop.ask(film(hedge="50ms"), "/film/1").body == {"details": {"path": "/details", "id": "1"}}
    assert shop.asked() == {"GET /details": 2}
    shop.set({})
    shop.ask(film(hedge="10s"), "/film/1")
    assert shop.asked() == {"GET /details": 1}


def test_cache_answers_again_with_its_age_and_what_is_left(shop: Counted, clock: Clock) -> None:
    app = shop.build(film(cache="60s"))

    async def first() -> None:
        outcome = await shop.asks(app, "/film/1")
        assert outcome.headers["cache-control"] == "public, max-age=60" and "age" not in outcome.headers

    async def hit() -> None:
        clock.now += 25
        outcome = await shop.asks(app, "/film/1")
        assert outcome.headers["age"] == "25" and "degraded" not in outcome.body
        assert shop.asked() == {"GET /details": 1}

    async def other() -> None:
        await shop.asks(app, "/film/2")
        assert shop.asked() == {"GET /details": 2}

    async def over() -> None:
        clock.now += 36
        assert "age" not in (await shop.asks(app, "/film/1")).headers
        assert shop.asked() == {"GET /details": 3}

    session(app, first, hit, other, over)


def test_equal_calls_of_a_cached_part_are_one(shop: Counted) -> None:
    shop.set({"/details": [{"ms": 100}]})
    app = shop.build(film(cache="60s"))

    async def several() -> None:
        outcomes = await asyncio.gather(*(shop.asks(app, "/film/1") for _ in range(20)))
        assert {outcome.status for outcome in outcomes} == {200}
        assert shop.asked() == {"GET /details": 1}

    session(app, several)


def test_stale_answers_the_old_value_and_says_so_while_one_call_refreshes_it(
    shop: Counted, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tierline.journeys")
    app = shop.build(film(cache=Cache("60s", stale="5m")))

    async def first() -> None:
        assert (await shop.asks(app, "/film/1")).status == 200

    async def old() -> None:
        shop.set({"/details": [{"ms": 300, "body": {"id": "new"}}]})
        clock.now += 100
        for _ in range(3):
            outcome = await shop.asks(app, "/film/1")
            assert outcome.body["details"] == {"path": "/details", "id": "1"}
            (told,) = outcome.body["degraded"]
            assert told == {
                "part": "details",
                "fields": ["details"],
                "why": "stale-while-revalidate",
                "retryable": True,
                "stale": True,
                "age": 100,
            }
            assert outcome.headers["x-tierline-degraded"] == "details"
            assert outcome.headers["age"] == "100"
            assert outcome.headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"
        await refreshed(app)
        assert shop.asked() == {"GET /details": 1}
        assert caplog.text.count("answered with a copy of 100 s while a new one is made") == 1
        assert 'tierline_journeys_part_revalidated_total{journey="film",part="details"} 3\n' in (
            await metrics(app)
        )

    async def fresh() -> None:
        outcome = await shop.asks(app, "/film/1")
        assert outcome.body == {"details": {"id": "new"}} and "age" not in outcome.headers
        assert shop.asked() == {"GET /details": 1}

    session(app, first, old, fresh)


def test_a_refresh_that_fails_is_told_though_no_request_sees_it(
    shop: Counted, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tierline.journeys")
    app = shop.build(film(cache=Cache("60s", stale="5m")))

    async def first() -> None:
        assert (await shop.asks(app, "/film/1")).status == 200

    async def old() -> None:
        shop.set({"/details": [DOWN]})
        clock.now += 100
        for _ in range(3):
            assert (await shop.asks(app, "/film/1")).body["details"]["id"] == "1"
            await refreshed(app)
        assert caplog.text.count("its old copy is used") == 1
        assert 'tierline_journeys_part_failures_total{journey="film",part="details"} 3\n' in (
            await metrics(app)
        )

    session(app, first, old)


def test_what_is_made_of_an_old_copy_is_not_kept_as_new(shop: Counted, clock: Clock) -> None:
    screen = film(cache=Cache("60s", stale="5m"))

    @screen.part(cache="120s")
    async def title(details: dict[str, str] | None) -> str:
        return details["id"] if details is not None else "none"

    app = shop.build(screen)

    async def first() -> None:
        assert (await shop.asks(app, "/film/1?fields=details")).status == 200

    async def old() -> None:
        shop.set({"/details": [{"body": {"id": "new"}}]})
        clock.now += 100
        assert (await shop.asks(app, "/film/1")).body["title"] == "1"
        await refreshed(app)

    async def fresh() -> None:
        assert (await shop.asks(app, "/film/1")).body["title"] == "new"

    session(app, first, old, fresh)


@pytest.mark.parametrize("stale", [True, False])
def test_a_problem_says_which_parts_were_old_or_missing_before_another_failed(
    shop: Counted, clock: Clock, stale: bool
) -> None:
    words = {"cache": Cache("60s", stale="5m")} if stale else {"fallback": None}
    screen = film(**words)

    @screen.part
    async def price(details: dict[str, str] | None, shop) -> dict[str, str]:
        return (await shop.get("/price")).json()

    app = shop.build(screen)

    async def main() -> None:
        assert (await shop.asks(app, "/film/1")).status == 200
        shop.set({"/price": [DOWN], "/details": [{} if stale else DOWN]})
        clock.now += 100
        outcome = await shop.asks(app, "/film/1")
        assert outcome.status == 502 and outcome.problem and outcome.problem["part"] == "price"
        (told,) = outcome.problem["degraded"]
        assert (told["part"], told["stale"]) == ("details", stale)

    session(app, main)


@pytest.mark.parametrize("manner", [DOWN, HANGS, {"status": 429}, {"status": 500}])
@pytest.mark.parametrize("fallback", [True, False])
def test_stale_if_error_stands_in_and_is_told_three_times(
    shop: Counted, clock: Clock, manner: dict[str, Any], fallback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tierline.journeys")
    words: dict[str, Any] = {"fallback": None} if fallback else {}
    app = shop.build(film(deadline="300ms", cache=Cache("60s", stale_if_error="1h"), **words))

    async def first() -> None:
        assert (await shop.asks(app, "/film/1")).status == 200

    async def old() -> None:
        shop.set({"/details": [manner]})
        clock.now += 85
        outcome = await shop.asks(app, "/film/1")
        assert outcome.status == 200 and outcome.body["details"] == {"path": "/details", "id": "1"}
        (told,) = outcome.body["degraded"]
        assert (told["part"], told["fields"], told["stale"], told["age"]) == (
            "details",
            ["details"],
            True,
            85,
        )
        assert outcome.headers["cache-control"] == "no-store"
        assert "answered with a copy of 85 s" in caplog.text
        counted = await metrics(app)
        assert 'tierline_journeys_part_stale_total{journey="film",part="details"} 1\n' in counted
        assert 'tierline_journeys_part_failures_total{journey="film",part="details"} 1\n' in counted

    session(app, first, old)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 422])
def test_stale_if_error_stands_in_for_no_clear_no(shop: Counted, clock: Clock, status: int) -> None:
    app = shop.build(film(cache=Cache("60s", stale_if_error="1h")))

    async def main() -> None:
        assert (await shop.asks(app, "/film/1")).status == 200
        shop.set({"/details": [{"status": status}]})
        clock.now += 85
        assert (await shop.asks(app, "/film/1")).status == status

    session(app, main)


def test_per_user_vary_and_store_choose_who_shares(shop: Counted) -> None:
    screen = Journey("screen", "/screen", deadline="20s")

    @screen.part(cache=Cache("60s", per="user"))
    async def mine(identity, shop) -> dict[str, str]:
        return (await shop.get("/mine", of=identity["sub"])).json()

    @screen.part(cache=Cache("60s", vary=["x-experiment"]))
    async def banner(request, shop) -> dict[str, str]:
        return (await shop.get("/banner", of=request.header("x-experiment"))).json()

    @screen.part(cache=Cache("60s", store=False))
    async def told(shop) -> dict[str, str]:
        return (await shop.get("/told")).json()

    app = shop.build(screen)

    async def main() -> None:
        for user, experiment in (("ada", "a"), ("eve", "a"), ("ada", "b"), ("ada", "a")):
            outcome = await shop.asks(
                app, "/screen", headers={CLAIMS: f'{{"sub":"{user}"}}', "x-experiment": experiment}
            )
            assert outcome.body["mine"]["of"] == user and outcome.body["banner"]["of"] == experiment
            assert outcome.headers["cache-control"].startswith("private")
            assert "x-experiment" in outcome.headers["vary"]
        assert shop.asked() == {"GET /mine": 2, "GET /banner": 2, "GET /told": 4}

    session(app, main)


def test_keys_are_the_answers_surrogate_keys(shop: Counted) -> None:
    outcome = shop.ask(film(cache=Cache("60s", keys=["film:{film_id}"])), "/film/7")
    assert outcome.headers["surrogate-key"] == "film film:7"


def test_bulkhead_and_its_queue(shop: Counted) -> None:
    shop.set({"/details": [{"ms": 200}]})
    shared = Bulkhead(2, queue=1)
    app = shop.build(film(bulkhead=shared, fallback=None))

    async def main() -> None:
        outcomes = await asyncio.gather(*(shop.asks(app, f"/film/{n}") for n in range(6)))
        full = [outcome for outcome in outcomes if outcome.degraded]
        assert len(full) == 3 and {each.body["degraded"][0]["why"] for each in full} == {"bulkhead-full"}
        assert all(each.body["degraded"][0]["retryable"] for each in full)
        assert shop.asked() == {"GET /details": 3} and shared.running == 0

    session(app, main)


def test_hidden_is_for_other_parts_and_views(shop: Counted) -> None:
    journey = film(hidden=True)

    @journey.part
    def title(details: dict[str, str] | None) -> str:
        return details["id"] if details is not None else "none"

    assert shop.ask(journey, "/film/1").body == {"title": "1"} and shop.asked() == {"GET /details": 1}


def test_requires_calls_nothing_for_another_caller(shop: Counted) -> None:
    journey = film(requires="films:read")
    assert shop.ask(journey, "/film/1").headers["www-authenticate"] == "Bearer"
    other = {CLAIMS: '{"sub":"ada","scope":"films:list"}'}
    assert shop.ask(journey, "/film/1", headers=other).status == 403
    assert shop.asked() == {}
    lesser = shop.ask(film(requires="films:read", fallback=None), "/film/1", headers=other)
    assert lesser.body == {"details": None} and shop.asked() == {}
    allowed = {CLAIMS: '{"sub":"ada","scope":"films:read films:list"}'}
    assert shop.ask(journey, "/film/1", headers=allowed).status == 200


def test_forward_errors_shows_what_the_service_says(shop: Counted) -> None:
    said = {"detail": "no such film", "errors": [{"field": "id", "why": "unknown"}]}
    shop.set({"/details": [{"status": 422, "body": said}]})
    hidden = shop.ask(film(), "/film/1")
    assert hidden.status == 422 and "no such film" not in str(hidden.body)
    shown = shop.ask(film(forward_errors=422), "/film/1")
    assert shown.problem and "no such film" in shown.problem["detail"]
    assert shown.problem["errors"] == said["errors"]


def test_forward_errors_shows_the_status_too(shop: Counted) -> None:
    shop.set({"/details": [{"status": 402, "body": {"title": "declined"}}]})
    assert shop.ask(film(), "/film/1").status == 502
    shown = shop.ask(film(forward_errors=402), "/film/1")
    assert shown.problem and shown.problem["status"] == 402 and "declined" in shown.problem["detail"]
    assert shown.problem["type"].endswith(":service-refused")


def test_what_is_kept_per_user_is_dropped_by_that_users_effects(shop: Counted) -> None:
    screen, change = Journey("screen", "/screen"), Journey("change", "/change", methods=["POST"])

    @screen.part(cache=Cache("60s", per="user", keys=["mine:{identity[sub]}"]))
    async def mine(identity, shop) -> dict[str, str]:
        return (await shop.get("/mine", of=identity["sub"])).json()

    @change.effect(drops=["mine:{identity[sub]}"])
    async def changed(identity) -> str:
        return identity["sub"]

    app = shop.build(screen, change)

    async def main() -> None:
        ada, eve = ({CLAIMS: f'{{"sub":"{sub}"}}'} for sub in ("ada", "eve"))
        for who in (ada, eve, ada, eve):
            outcome = await shop.asks(app, "/screen", headers=who)
            assert "ada" not in outcome.headers["surrogate-key"], "nobody's name is in a header field"
        assert shop.asked() == {"GET /mine": 2}
        await shop.asks(app, "/change", method="POST", headers=ada)
        for who in (ada, eve):
            await shop.asks(app, "/screen", headers=who)
        assert shop.asked() == {"GET /mine": 3}

    session(app, main)


def test_when_calls_nothing_where_it_does_not_hold(shop: Counted) -> None:
    journey = film(when=lambda film_id: film_id > 1)
    assert shop.ask(journey, "/film/1").body == {"details": None} and shop.asked() == {}
    assert shop.ask(journey, "/film/2").body["details"]["id"] == "2"


def test_a_journeys_cache_holds_for_parts_without_one(shop: Counted) -> None:
    journey = film()
    journey.cache = Cache("60s")
    app = shop.build(journey)

    async def main() -> None:
        for _ in range(3):
            assert (await shop.asks(app, "/film/1")).headers["cache-control"] == "public, max-age=60"
        assert shop.asked() == {"GET /details": 1}

    session(app, main)


def test_private_is_said_to_the_caches_in_front(shop: Counted) -> None:
    journey = film(cache="60s")
    journey.private = True
    assert shop.ask(journey, "/film/1").headers["cache-control"] == "private, max-age=60"


@pytest.mark.parametrize("gathered", [True, False])
def test_a_thousand_calls_in_one_part_are_capped_and_told(shop: Counted, gathered: bool) -> None:
    screen = Journey("screen", "/screen", deadline="20s")

    @screen.part
    async def prices(shop) -> list[Any]:
        calls = (shop.get("/price", id=number) for number in range(1000))
        if gathered:
            return await asyncio.gather(*calls)
        return [await call for call in calls]

    outcome = shop.ask(screen, "/screen")
    assert outcome.status == 500 and outcome.problem
    assert outcome.problem["part"] == "prices" and "more than 200 calls" in outcome.problem["detail"]
    assert "@journey.batch" in outcome.problem["detail"]
    assert shop.asked().get("GET /price", 0) <= 200
    screen.most_calls = 3
    shop.set({})
    assert "more than 3 calls" in str(shop.ask(screen, "/screen").problem)
    assert shop.asked().get("GET /price", 0) <= 3


def test_a_thousand_keys_are_a_few_calls_of_a_look_up(shop: Counted) -> None:
    screen = Journey("screen", "/screen", deadline="20s")

    @screen.batch(most=100)
    async def price_of(ids: list[int], shop) -> dict[int, str]:
        found = (await shop.get("/prices", of=ids[0])).json()["path"]
        return dict.fromkeys(ids, found)

    @screen.part
    async def prices(price_of) -> int:
        return len(await price_of.many(list(range(1000))))

    assert shop.ask(screen, "/screen").body == {"prices": 1000} and shop.asked() == {"GET /prices": 10}


def test_equal_calls_of_one_request_are_one(shop: Counted) -> None:
    screen = Journey("screen", "/screen", deadline="20s")
    for name in ("one", "two", "three"):

        async def part(shop) -> dict[str, str]:
            return (await shop.get("/same")).json()

        screen.part(name=name)(part)
    assert shop.ask(screen, "/screen").status == 200 and shop.asked() == {"GET /same": 1}


def test_most_is_the_largest_answer(shop: Counted) -> None:
    shop.set({"/details": [{"body": {"text": "x" * 5000}}]})
    journey = film()
    journey.most = 1000
    outcome = shop.ask(journey, "/film/1")
    assert outcome.status == 502 and outcome.problem and outcome.problem["part"] == "details"
