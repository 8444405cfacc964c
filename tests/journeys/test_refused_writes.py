"""What refuses a request, with a real service behind that counts: nothing of it is asked too early, or twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypedDict
from uuid import UUID

import pytest
from counted import Counted, counted, within
from serving import granian

from tierline.errors import StackError
from tierline.journeys import HTTP, Journey, Passage, Reply
from tierline.journeys.app import Experience
from tierline.journeys.testing import Outcome

HANGS = {"ms": 60_000}
CLAIMS = "x-tierline-claims"
ADA = {CLAIMS: '{"sub":"ada","scope":"orders:read"}'}
EVE = {CLAIMS: '{"sub":"eve"}'}


@pytest.fixture(scope="module")
def service() -> Iterator[Counted]:
    with granian("counting:app") as address, counted(address) as found:
        yield found


@pytest.fixture
def shop(service: Counted) -> Counted:
    service.set({})
    return service


def account(**words: Any) -> Journey:
    """A journey with a guard that asks the service, and a part that asks it too."""
    found = Journey("account", "/account", deadline="20s")

    @found.guard(**words)
    async def member(shop) -> dict[str, str]:
        return (await shop.get("/member")).json()

    @found.part
    async def orders(member, shop) -> dict[str, str]:
        return (await shop.get("/orders")).json()

    return found


@pytest.mark.parametrize("target", ["/account", "/account?fields=orders", "/account?stream"])
def test_a_guards_deadline_refuses_and_nothing_else_is_asked(shop: Counted, target: str) -> None:
    shop.set({"/member": [HANGS]})
    outcome = shop.ask(account(deadline="100ms"), target)
    assert outcome.status == 504 and outcome.problem and outcome.problem["part"] == "member"
    assert shop.asked() == {"GET /member": 1}


@pytest.mark.parametrize("target", ["/account", "/account?stream"])
def test_a_guard_that_hangs_refuses_when_the_journeys_time_is_over(shop: Counted, target: str) -> None:
    shop.set({"/member": [HANGS]})
    outcome = shop.ask(account(), target, headers={"x-request-deadline-ms": "100"})
    assert outcome.status == 504 and shop.asked() == {"GET /member": 1}


@pytest.mark.parametrize("manner", [{"status": 500}, {"status": 403}, {"status": 404}])
def test_a_guard_whose_service_fails_refuses(shop: Counted, manner: dict[str, Any]) -> None:
    shop.set({"/member": [manner]})
    assert shop.ask(account(), "/account").status >= 400 and shop.asked() == {"GET /member": 1}


def test_a_look_ups_deadline_fails_whoever_asks_it(shop: Counted) -> None:
    screen = Journey("screen", "/screen", deadline="20s")

    @screen.batch(most=10, deadline="100ms")
    async def price_of(ids: list[int], shop) -> dict[int, str]:
        return dict.fromkeys(ids, (await shop.get("/prices")).json()["path"])

    @screen.part(fallback=None)
    async def price(price_of) -> str | None:
        return await price_of(1)

    @screen.part
    async def title(shop) -> str:
        return (await shop.get("/title")).json()["path"]

    shop.set({"/prices": [HANGS, {}]})
    late = shop.ask(screen, "/screen")
    assert late.body["title"] == "/title" and late.body["price"] is None
    assert late.body["degraded"][0]["why"] == "deadline-exceeded"
    assert shop.ask(screen, "/screen").body == {"price": "/prices", "title": "/title"}


def test_a_journeys_requirements_come_before_every_call(shop: Counted) -> None:
    journey = account()
    closed = Journey("closed", "/closed", requires="orders:read", deadline="20s")
    for name, part in journey.parts.items():
        closed.parts[name] = part
    refused = shop.ask(closed, "/closed")
    assert refused.status == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert shop.ask(closed, "/closed", headers=EVE).status == 403
    assert shop.ask(closed, "/closed?stream", headers=EVE).status == 403
    assert shop.asked() == {}
    assert shop.ask(closed, "/closed", headers=ADA).status == 200
    assert shop.asked() == {"GET /member": 1, "GET /orders": 1}


def buying() -> tuple[Journey, Journey]:
    cart = Journey("cart", "/cart/{film_id}", methods=["PUT"], deadline="20s")
    buy = Journey("buy", "/buy", methods=["POST"], deadline="20s")

    @cart.part
    async def added(film_id: int, session, shop) -> list[int]:
        await shop.get("/films", id=film_id)
        session.setdefault("cart", []).append(film_id)
        return session["cart"]

    @buy.part(hidden=True)
    async def price(shop) -> str:
        return (await shop.get("/price")).json()["path"]

    @buy.effect
    async def order(price: str, body: dict[str, int], shop) -> dict[str, str]:
        return (await shop.post("/orders", json=body)).json()

    cart.step("tickets")
    buy.step("tickets", after=cart, required=True)
    return cart, buy


def run(app: Experience, *steps: Any) -> None:
    async def main() -> None:
        try:
            for step in steps:
                await step()
        finally:
            await app.stop()

    within(main())


async def put(shop: Counted, app: Experience, film: int, **headers: str) -> Outcome:
    return await shop.asks(app, f"/cart/{film}", method="PUT", headers=headers)


async def post(shop: Counted, app: Experience, seats: int, **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await shop.asks(app, "/buy", method="POST", body={"seats": seats}, headers=named)


def test_a_step_out_of_order_says_where_to_go_and_asks_nothing(shop: Counted) -> None:
    app = shop.build(*buying())

    async def main() -> None:
        for key in ({}, {"idempotency_key": "k1"}):
            early = await post(shop, app, 2, **key)
            assert early.status == 409 and early.problem
            assert early.problem["type"].endswith("step-out-of-order")
            assert early.problem["step"] == "cart" and early.problem["go_to"] == "/"
        assert shop.asked() == {}
        visitor = cookie_of(await put(shop, app, 7))
        assert (await post(shop, app, 2, cookie=visitor)).status == 200
        again = await post(shop, app, 2, cookie=visitor)
        assert again.status == 409, "the funnel has ended"
        assert shop.asked() == {"GET /films": 1, "GET /price": 1, "POST /orders": 1}

    run(app, main)


def test_a_key_of_another_body_is_409_and_calls_nothing(shop: Counted) -> None:
    app = shop.build(*buying())

    async def main() -> None:
        visitor = cookie_of(await put(shop, app, 7))
        other = cookie_of(await put(shop, app, 7))
        first = await post(shop, app, 2, cookie=visitor, idempotency_key="k1")
        assert first.status == 200
        before = shop.asked()
        assert (await post(shop, app, 3, cookie=visitor, idempotency_key="k1")).status == 409
        again = await post(shop, app, 2, cookie=visitor, idempotency_key="k1")
        assert again.status == 200 and again.body == first.body
        assert shop.asked() == before and len(shop.keys()) == 1
        assert (await post(shop, app, 3, cookie=other, idempotency_key="k1")).status == 200, (
            "another caller's"
        )
        assert len(set(shop.keys())) == 2, "nor does the service take one for the other"

    run(app, main)


def test_the_same_key_twice_at_once_is_one_order(shop: Counted) -> None:
    app = shop.build(*buying())
    shop.set({"/orders": [{"ms": 200}]})

    async def main() -> None:
        visitor = cookie_of(await put(shop, app, 7))
        asked = (post(shop, app, 2, cookie=visitor, idempotency_key="k1") for _ in range(4))
        outcomes = await asyncio.gather(*asked)
        assert {outcome.status for outcome in outcomes} == {200}
        assert shop.asked()["POST /orders"] == 1

    run(app, main)


def test_two_devices_write_one_session_at_once(shop: Counted) -> None:
    """Two cookies of one member, which stand for one session: no add is lost, though each asks the service meanwhile."""
    app = shop.build(*buying())
    shop.set({"/films": [{"ms": 20}]})

    async def main() -> None:
        devices = []
        for film in (1, 2):
            before = cookie_of(await put(shop, app, film))
            devices.append(cookie_of(await put(shop, app, film + 2, cookie=before, **ADA)))
        assert devices[0] != devices[1]
        done = await asyncio.gather(
            *(put(shop, app, film, cookie=devices[film % 2]) for film in range(10, 22))
        )
        assert {outcome.status for outcome in done} == {200}
        for device in devices:
            cart = (await put(shop, app, 99, cookie=device)).body["added"]
            assert set(range(10, 22)) <= set(cart)

    run(app, main)


def cookie_of(outcome: Outcome) -> str:
    return outcome.headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("given", [10**19 * 2, -(10**19), 10**30])
def test_a_number_that_nothing_can_keep_is_refused(shop: Counted, given: int) -> None:
    cart, _ = buying()
    screen = Journey("screen", "/screen/{film_id}", methods=["GET", "PUT"], deadline="20s")

    @screen.part(cache="60s")
    async def film(film_id: int, shop, pages: list[int] | None = None) -> dict[str, str]:
        return (await shop.get("/films", id=film_id)).json()

    assert shop.ask(cart, f"/cart/{given}", method="PUT").status == 422
    assert shop.ask(screen, f"/screen/{given}").status == 422
    assert shop.ask(screen, f"/screen/1?pages=1&pages={given}").status == 422
    kept = Journey("kept", "/kept", methods=["PUT"])

    @kept.part
    def noted(body: dict[str, Any], session) -> int:
        session["noted"] = body
        return 1

    outcome = shop.ask(kept, "/kept", method="PUT", body={"a": [{"b": given}]})
    assert outcome.status == 422 and outcome.problem and outcome.problem["errors"][0]["in"] == "body"
    assert shop.ask(kept, "/kept", method="PUT", body={"a": "1" * 40, "b": 2**63}).status == 200
    assert shop.asked() == {}


def test_a_large_number_of_a_service_is_answered_though_it_can_not_be_kept(shop: Counted) -> None:
    screen = Journey("screen", "/screen", deadline="20s")

    @screen.part(cache="60s")
    async def film(shop) -> int:
        return (await shop.get("/films")).json()["id"]

    @screen.part(cache="60s", hidden=True)
    async def twice(film: int) -> str:
        return str(film)

    @screen.part
    def said(twice: str) -> str:
        return twice

    shop.set({"/films": [{"body": {"id": 10**30}}]})
    outcome = shop.ask(screen, "/screen")
    assert outcome.status == 200 and outcome.body == {"film": 10**30, "said": str(10**30)}


def test_what_the_application_refuses_is_named_after_its_status(shop: Counted) -> None:
    refused = shop.ask(account(), "/account?stream", headers={"accept": "image/png"})
    assert refused.status == 406 and refused.problem
    assert refused.problem["type"] == "urn:tierline:problem:not-acceptable"
    _, buy = buying()
    large = shop.ask(buy, "/buy", method="POST", body={"a": "x" * 2_000_000})
    assert large.status == 413 and large.problem
    assert large.problem["type"] == "urn:tierline:problem:content-too-large"


def test_a_part_that_returns_a_reply_is_told_when_built(shop: Counted) -> None:
    screen = Journey("screen", "/screen")

    @screen.part
    def where() -> Reply[str]:
        return Reply("x", status=302, location="/home")

    with pytest.raises(
        StackError, match=r"part 'where' returns a Reply; allowed for effects and views alone"
    ):
        shop.build(screen)
    unsaid = Journey("unsaid", "/unsaid")

    @unsaid.part
    def there():
        return Reply("x", status=302, location="/home")

    outcome = asyncio.run(unsaid.call())
    assert outcome.status == 500 and outcome.problem and outcome.problem["part"] == "there"


def test_several_fields_may_be_several_query_values(shop: Counted) -> None:
    outcome = shop.ask(account(), "/account?fields=orders.path&fields=member")
    assert outcome.status == 422, "a guard is nobody's field"
    screen = Journey("screen", "/screen")
    for name in ("one", "two", "three"):
        screen.part(name=name)(lambda: {"a": 1, "b": 2})
    outcome = shop.ask(screen, "/screen?fields=one.a&fields=two")
    assert outcome.body == {"one": {"a": 1}, "two": {"a": 1, "b": 2}}


def test_a_browsers_scripts_are_not_given_the_session(shop: Counted) -> None:
    cart, _ = buying()
    app = shop.build(cart)

    async def main() -> None:
        program = await put(shop, app, 1)
        assert program.headers["x-session"]
        browser = await put(shop, app, 1, **{"sec-fetch-site": "same-origin"})
        assert "HttpOnly" in browser.headers["set-cookie"] and "x-session" not in browser.headers

    run(app, main)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"requires": []}, r"requires: \[\] names nothing, so that any token would do"),
        ({"requires": {}}, r"requires: \{\} names nothing"),
        ({"requires": set()}, r"names nothing"),
        ({"requires": {"role": None}}, r"the claim 'role' can't be None"),
        ({"deadline": 0}, r"deadline: 0 leaves no time"),
        ({"deadline": "0ms"}, r"deadline: '0ms' leaves no time"),
        ({"deadline": float("inf")}, r"deadline: inf is not a duration"),
        ({"deadline": float("nan")}, r"deadline: nan is not a duration"),
    ],
)
def test_what_would_let_anybody_in_or_nobody_is_told_when_written(words: dict[str, Any], says: str) -> None:
    with pytest.raises(StackError, match=says):
        Journey("one", "/one", **words)
    with pytest.raises(StackError, match=says):
        Journey("one", "/one").part(**words)(lambda: 1)
    if "requires" in words:
        with pytest.raises(StackError, match=says):
            Passage("file", "/file", to="files", **words)
    else:
        with pytest.raises(StackError, match=says):
            Journey("one", "/one").guard(**words)(lambda: 1)
        with pytest.raises(StackError, match=says.replace("deadline", "timeout")):
            HTTP("127.0.0.1:1", name="shop", timeout=words["deadline"])


@pytest.mark.parametrize("path", ["/-/health", "/-/metrics/{name}", "/-"])
def test_the_applications_own_paths_are_no_journeys(path: str) -> None:
    with pytest.raises(StackError, match="is among the application's own"):
        Journey("one", path)


class Named(TypedDict):
    a: int


@dataclass
class Held:
    a: int


@pytest.mark.parametrize(
    "kind",
    [dict, dict[str, int], Mapping[str, int], list[dict[str, int]], Named, Held, list[Held], Held | None],
)
def test_a_type_that_no_text_becomes_is_said_to_be_a_body(shop: Counted, kind: Any) -> None:
    screen = Journey("screen", "/screen")

    def found(filter: Any) -> int:
        return 1

    found.__annotations__["filter"] = kind
    screen.part(found)
    with pytest.raises(StackError, match=r"no text can be turned into .*is the body"):
        shop.build(screen)


@pytest.mark.parametrize(
    ("kind", "query"),
    [(list[int], "filter=1&filter=2"), (tuple[int, str], "filter=1&filter=x"), (set[str] | None, "filter=a"),
     (Literal["a", "b"], "filter=a"), (UUID, f"filter={UUID(int=7)}"), (date, "filter=2026-12-01")],
)  # fmt: skip
def test_what_a_text_becomes_is_a_query_value(shop: Counted, kind: Any, query: str) -> None:
    screen = Journey("screen", "/screen")

    def found(filter: Any) -> str:
        return str(filter)

    found.__annotations__["filter"] = kind
    screen.part(found)
    assert shop.ask(screen, f"/screen?{query}").status == 200


@pytest.mark.parametrize("given", ["", ".", ".."])
def test_a_value_that_is_no_path_segment_names_nothing(shop: Counted, given: str) -> None:
    """It never reaches another path of the service, and is the client's mistake, not the part's."""
    screen = Journey("screen", "/screen")

    @screen.part
    async def film(name: str, shop) -> dict[str, str]:
        return (await shop.get("/films/{name}", name=name)).json()

    outcome = shop.ask(screen, f"/screen?name={given}")
    assert outcome.status == 404 and outcome.problem and "/films" not in str(outcome.body)
    assert shop.asked() == {}
