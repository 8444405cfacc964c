"""Effects: after the reads, in order, never midway, never twice; undone when a later one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from tierline.errors import StackError
from tierline.journeys import Conflict, Cookie, Journey, MemoryStore, NotFound, Reply, SessionStore, build
from tierline.journeys.testing import Outcome, ask
from waiting import PATIENCE, becomes


class Order(msgspec.Struct):
    id: int


class Orders:
    """A service of orders: an ASGI application that counts what reaches it."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.placed: dict[str, int] = {}
        self.fail: list[int] = []
        """Statuses of the next answers, before it works again."""
        self.retry_after = ""
        self.price = 7
        self.hold: asyncio.Event | None = None
        self.arrived = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        status, value = 200, {"price": self.price}
        if scope["method"] == "PUT":
            self.price = 8
        elif scope["method"] == "POST":
            key = headers.get(b"idempotency-key", b"").decode()
            self.keys.append(key)
            self.arrived.set()
            if self.hold is not None:
                await self.hold.wait()
            if self.fail:
                status = self.fail.pop(0)
            else:
                value = {"id": self.placed.setdefault(key or f"none-{len(self.keys)}", len(self.placed) + 1)}
        sent = [(b"content-type", b"application/json")]
        if status >= 400 and self.retry_after:
            sent.append((b"retry-after", self.retry_after.encode()))
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": msgspec.json.encode(value)})


def checkout(**words: Any) -> Journey:
    buy = Journey("buy", "/buy", methods=["POST"], **words)

    @buy.part(hidden=True)
    async def price(orders) -> int:
        return (await orders.get("/price")).json()["price"]

    @buy.effect
    async def order(price: int, orders) -> dict[str, Any]:
        return {**(await orders.post("/orders")).json(), "price": price}

    return buy


async def post(app: Any, target: str = "/buy", body: Any = None, **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named.setdefault("content-type", "application/json")
    return await ask(app, "POST", target, named, body, Outcome())


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), PATIENCE))  # type: ignore[arg-type]


def test_the_same_key_is_one_order_and_the_same_answer() -> None:
    async def main() -> None:
        orders = Orders()
        app = build([checkout()], services={"orders": orders})
        first = await post(app, idempotency_key="k1")
        again = await post(app, idempotency_key="k1")
        assert first.status == again.status == 200 and first.body == again.body == {
            "order": {"id": 1, "price": 7}
        }
        assert (await post(app, idempotency_key="k2")).body["order"]["id"] == 2
        assert orders.keys == ["k1", "k2"], "the client's key goes to the service"
        several = await asyncio.gather(*(post(app, idempotency_key="k3") for _ in range(5)))
        assert {outcome.body["order"]["id"] for outcome in several} == {3} and len(orders.keys) == 3

    run(main)


def test_a_key_of_another_body_is_a_conflict_and_a_wrong_one_is_refused() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])

    @buy.effect
    async def order(body: dict[str, int]):
        return body

    async def main() -> None:
        app = build([buy])
        assert (await post(app, body={"n": 1}, idempotency_key="k")).status == 200
        assert (await post(app, body={"n": 2}, idempotency_key="k")).status == 409
        other = await post(app, body={"n": 2}, idempotency_key="k", x_tierline_claims='{"sub":"ada"}')
        assert other.status == 200, "another caller's key is another key"
        assert (await post(app, body={"n": 1}, idempotency_key="k" * 300)).status == 422

    run(main)


def test_a_client_that_leaves_ends_no_effect_and_finds_its_order() -> None:
    async def main() -> None:
        orders = Orders()
        orders.hold = asyncio.Event()
        app = build([checkout()], services={"orders": orders})
        left = asyncio.ensure_future(post(app, idempotency_key="k"))
        await orders.arrived.wait()
        left.cancel()
        orders.hold.set()
        found = await post(app, idempotency_key="k")
        assert found.body["order"]["id"] == 1 and orders.keys == ["k"]
        await app.stop()

    run(main)


def test_a_visitor_without_a_key_has_one_until_the_answer_is_sent() -> None:
    async def main() -> None:
        orders = Orders()
        app = build([checkout()], services={"orders": orders}, session=SessionStore(MemoryStore()))
        first = await post(app)
        cookie = first.headers["set-cookie"].partition(";")[0]
        orders.hold, orders.arrived = asyncio.Event(), asyncio.Event()
        left = asyncio.ensure_future(post(app, cookie=cookie))
        await orders.arrived.wait()
        left.cancel()
        orders.hold.set()
        assert (await post(app, cookie=cookie)).body["order"]["id"] == 2, "the one that was left"
        assert (await post(app, cookie=cookie)).body["order"]["id"] == 3, "a new one"

    run(main)


@pytest.mark.parametrize("sibling", ["fails", "times out"])
def test_what_only_the_answer_needs_ends_no_effect(sibling: str) -> None:
    async def main() -> None:
        orders = Orders()
        buy = checkout(deadline="300ms")
        ran = []

        @buy.part
        async def advice(order) -> str:
            ran.append(order["id"])
            if sibling == "fails":
                raise ValueError("no advice")
            await asyncio.sleep(600)
            return ""

        app = build([buy], services={"orders": orders})
        failed = await post(app, idempotency_key="k")
        assert failed.status >= 500 and failed.problem is not None and failed.problem["effects"] == ["order"]
        assert list(orders.placed) == ["k"]
        await post(app, idempotency_key="k")
        assert ran == [1, 1] and orders.keys == ["k"]

    run(main)


def test_a_read_that_fails_is_before_the_first_effect() -> None:
    done = []
    buy = Journey("buy", "/buy", methods=["POST"])

    @buy.effect
    async def payment():
        done.append("payment")
        return 1

    @buy.part(hidden=True)
    async def stock():
        raise Conflict("sold out")

    @buy.effect
    async def order(stock):
        done.append("order")
        return 2

    outcome = asyncio.run(buy.call())
    assert outcome.status == 409 and done == []


def test_effects_run_in_the_order_written_and_are_undone_in_reverse() -> None:
    done: list[str] = []
    broken = [True]
    buy = Journey("buy", "/buy", methods=["POST"])

    @buy.effect
    async def reserved():
        await asyncio.sleep(0)
        done.append("reserve")
        return {"reservation": 5}

    @buy.effect
    async def paid():
        done.append("pay")
        return {"payment": 6}

    @buy.effect
    async def ordered(paid):
        if broken[0]:
            raise NotFound("no such film")
        done.append("order")
        return paid

    @buy.compensate("reserved")
    async def release(reserved):
        done.append(f"release {reserved['reservation']}")

    @buy.compensate("paid")
    def refund(paid):
        done.append(f"refund {paid['payment']}")

    async def main() -> None:
        app = build([buy])
        failed = await post(app, idempotency_key="k")
        assert failed.status == 404 and "effects" not in (failed.problem or {})
        assert done == ["reserve", "pay", "refund 6", "release 5"]
        done.clear()
        broken[0] = False
        assert (await post(app, idempotency_key="k")).status == 200
        assert done == ["reserve", "pay", "order"]

    run(main)


def test_an_effect_is_tried_again_with_the_same_key_and_a_part_that_posts_is_not() -> None:
    async def main() -> None:
        orders = Orders()
        buy = Journey("buy", "/buy", methods=["POST"])

        @buy.effect(retries=2)
        async def order(orders):
            return (await orders.post("/orders")).json()

        app = build([buy], services={"orders": orders})
        orders.fail = [503, 503]
        assert (await post(app, idempotency_key="k")).body == {"order": {"id": 1}}
        assert set(orders.keys) == {"k"} and len(orders.keys) == 3

        once = Journey("buy", "/buy", methods=["POST"])

        @once.effect
        async def bought(orders):
            return (await orders.post("/orders")).json()

        # Nobody has said that the service knows keys, and what fails may have been executed.
        orders.keys, orders.fail = [], [503]
        app = build([once], services={"orders": orders})
        assert (await post(app, idempotency_key="k")).status == 502 and orders.keys == ["k"]

        by_part = Journey("buy", "/buy", methods=["POST"])

        @by_part.part(retries=2, hedge="1ms")
        async def placed(orders):
            return (await orders.post("/orders")).json()

        orders.keys, orders.fail = [], [503]
        app = build([by_part], services={"orders": orders})
        assert (await post(app)).status == 502 and orders.keys == [""]

    run(main)


@pytest.mark.parametrize(
    ("word", "says"), [({"fallback": 1}, "fallback"), ({"cache": "1s"}, "cache"), ({"hedge": "1ms"}, "hedge")]
)
def test_an_effect_has_no_words_that_would_do_it_twice_or_not_at_all(word: dict[str, Any], says: str) -> None:
    buy = Journey("buy", "/buy", methods=["POST"])
    with pytest.raises(StackError, match=says):
        buy.effect(**word)


def test_a_journey_that_answers_get_has_no_effects() -> None:
    with pytest.raises(StackError, match="GET, which must change nothing"):
        Journey("buy", "/buy").effect(name="order")(lambda: 1)


def test_a_guard_needs_no_effect_and_a_compensation_an_effect() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])
    buy.effect(name="order")(lambda: 1)
    buy.guard(name="checked")(lambda order: order)
    with pytest.raises(StackError, match="guard 'checked' needs the effect 'order'"):
        build([buy])
    with pytest.raises(StackError, match="no such effect, did you mean 'order'"):
        buy.compensate("orders")(lambda: 1)


def test_what_was_read_before_a_write_is_read_again() -> None:
    async def main() -> None:
        orders = Orders()
        page = Journey("page", "/page", methods=["POST"])

        @page.part
        async def prices(orders) -> list[int]:
            before = (await orders.get("/price")).json()["price"]
            await orders.put("/price", json=8)
            return [before, (await orders.get("/price")).json()["price"]]

        assert (await post(build([page], services={"orders": orders}), "/page")).body == {"prices": [7, 8]}

    run(main)


def steps() -> list[Journey]:
    cart = Journey("cart", "/cart/{shop}", methods=["POST"])
    pay = Journey("pay", "/pay/{shop}", methods=["POST"])
    cart.part(name="added")(lambda shop: shop)
    pay.effect(name="paid")(lambda shop: shop)
    cart.step("buy")
    pay.step("buy", after=cart, required=True)
    return [cart, pay]


def test_a_required_step_says_where_to_go_back_to() -> None:
    async def main() -> None:
        app = build(steps())
        early = await post(app, "/pay/lyon")
        assert early.status == 409 and early.problem is not None
        assert early.problem["go_to"] == "/cart/lyon" and early.problem["step"] == "cart"
        cookie = (await post(app, "/cart/lyon")).headers["set-cookie"].partition(";")[0]
        assert (await post(app, "/pay/lyon", cookie=cookie)).body == {"paid": "lyon"}
        assert (await post(app, "/pay/lyon", cookie=cookie)).status == 409, (
            "the funnel is done, and begins anew"
        )

    run(main)


async def _three_adds(app: Any, cookie: str) -> None:
    outcomes = await asyncio.gather(*(post(app, f"/add/{n}", cookie=cookie) for n in range(3)))
    assert [outcome.status for outcome in outcomes] == [200] * 3


def adding() -> list[Journey]:
    add = Journey("add", "/add/{n}", methods=["POST"])
    look = Journey("look", "/look/{n}")

    @add.part
    async def cart(n: int, session):
        items = session.setdefault("cart", {"items": [], "count": 0})
        await asyncio.sleep(0.01)  # slow: others add meanwhile
        items["items"].append(n)
        items["count"] += 1
        return len(items["items"])

    @look.part
    async def seen(n: int, session):
        await asyncio.sleep(0.01)  # slow: others add meanwhile
        session[f"seen:{n}"] = True
        return session.get("cart", {})

    return [add, look]


def test_adds_at_once_are_all_kept_and_nested_changes_too() -> None:
    async def main() -> None:
        app = build(adding(), session=SessionStore(MemoryStore()))
        cookie = (await post(app, "/add/9")).headers["set-cookie"].partition(";")[0]
        await asyncio.gather(
            _three_adds(app, cookie),
            *(ask(app, "GET", f"/look/{n}", {"cookie": cookie}, None, Outcome()) for n in range(3)),
        )
        cart = (await ask(app, "GET", "/look/4", {"cookie": cookie}, None, Outcome())).body["seen"]
        assert sorted(cart["items"]) == [0, 1, 2, 9] and cart["count"] == 4

    run(main)


def test_a_cookie_in_two_fields_is_still_the_session() -> None:
    async def main() -> None:
        app = build(adding(), session=SessionStore(MemoryStore()))
        cookie = (await post(app, "/add/9")).headers["set-cookie"].partition(";")[0]
        pairs = [(b"cookie", cookie.encode()), (b"cookie", b"theme=dark")]
        scope = {
            "type": "http", "method": "GET", "path": "/look/1", "query_string": b"", "headers": pairs,
        }  # fmt: skip
        bodies: list[bytes] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            bodies.append(message.get("body", b""))

        await app(scope, receive, send)
        assert b'"items":[9]' in b"".join(bodies)

    run(main)


def test_hedging_and_retries_ask_anew_and_what_succeeded_is_not_asked_again() -> None:
    async def main() -> None:
        asked: list[str] = []
        slow = asyncio.Event()

        async def service(scope: Any, receive: Any, send: Any) -> None:
            asked.append(scope["path"])
            if scope["path"] == "/slow" and asked.count("/slow") == 1:
                await slow.wait()
            status = 503 if scope["path"] == "/flaky" and asked.count("/flaky") < 3 else 200
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"1"})

        page = Journey("page", "/page")

        @page.part(hedge="1ms")
        async def hedged(service):
            await service.get("/fine")
            return (await service.get("/slow")).json()

        @page.part(retries=3)
        async def retried(service):
            await service.get("/fine")
            return (await service.get("/flaky")).json()

        from tierline.journeys import ServiceClient
        from tierline.journeys.inprocess import InProcess

        client = ServiceClient("service", InProcess(service, "service"), retries=0)
        outcome = await ask(build([page], services={"service": client}), "GET", "/page", {}, None, Outcome())
        assert outcome.body == {"hedged": 1, "retried": 1}
        assert asked.count("/slow") == 2 and asked.count("/flaky") == 3 and asked.count("/fine") == 1

    run(main)


def test_retry_after_is_honoured_and_passed_on() -> None:
    async def main() -> None:
        orders = Orders()
        page = Journey("page", "/page", methods=["POST"])

        @page.effect(retries=1)
        async def order(orders):
            return (await orders.post("/orders")).json()

        app = build([page], services={"orders": orders})
        orders.fail, orders.retry_after = [429], "0"
        assert (await post(app, "/page")).body == {"order": {"id": 1}}
        orders.fail, orders.retry_after, orders.keys = [429, 429, 429], "120", []
        late = await post(app, "/page")
        assert late.status == 429 and late.headers["retry-after"] == "120" and len(orders.keys) == 1

    run(main)


def test_a_services_words_reach_the_client_only_where_its_part_says_so() -> None:
    async def service(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 422, "headers": []})
        said = {
            "detail": "seats: at most 10",
            "errors": [{"field": "seats", "why": "at most 10"}],
            "secret": 1,
        }
        await send({"type": "http.response.body", "body": msgspec.json.encode(said)})

    async def main() -> None:
        for words, shows in (
            ({}, False),
            ({"forward_errors": 422}, True),
            ({"forward_errors": [404]}, False),
        ):
            page = Journey("page", "/page")

            @page.part(**words)
            async def details(service):
                return await service.get("/x")

            outcome = await ask(
                build([page], services={"service": service}), "GET", "/page", {}, None, Outcome()
            )
            assert outcome.status == 422 and outcome.problem is not None and "secret" not in outcome.problem
            assert ("at most 10" in str(outcome.problem)) == shows

    run(main)


def test_what_an_effect_returns_has_its_type_when_it_is_replayed() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])
    types: list[type] = []

    @buy.effect
    async def order() -> Order:
        return Order(3)

    @buy.view("web")
    def web(order: Order):
        types.append(type(order))
        return order

    async def main() -> None:
        app = build([buy])
        for _ in range(2):
            assert (await post(app, idempotency_key="k")).body == {"id": 3}

    run(main)
    assert types == [Order, Order]


def test_a_failed_effect_is_done_again_for_the_same_key() -> None:
    async def main() -> None:
        orders = Orders()
        app = build([checkout()], services={"orders": orders})
        orders.fail = [500]
        failed = await post(app, idempotency_key="k")
        assert failed.status == 502
        assert (await post(app, idempotency_key="k")).body["order"]["id"] == 1

    run(main)


def test_an_effect_and_a_view_choose_status_fields_and_cookies() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])

    @buy.effect
    async def order() -> Reply[Order]:
        return Reply(Order(3), status=201, location="/orders/3", cookies={"last": "3"})

    @buy.view("mobile")
    def mobile(order: Order) -> Reply[dict[str, int]]:
        return Reply(
            {"n": order.id}, status=202, headers={"x-shop": "lyon"}, cookies={"a": Cookie("b", max_age=0)}
        )

    async def main() -> None:
        app = build([buy])
        for _ in range(2):
            made = await post(app, idempotency_key="k", x_forwarded_proto="https")
            assert made.status == 201 and made.body == {"order": {"id": 3}}
            assert made.headers["location"] == "/orders/3" and made.headers["cache-control"] == "no-store"
            assert made.headers["set-cookie"] == "last=3; Path=/; SameSite=Lax; HttpOnly; Secure"
        seen = await post(app, idempotency_key="k", x_client="mobile")
        assert seen.status == 202 and seen.body == {"n": 3} and seen.headers["x-shop"] == "lyon"
        assert seen.headers["set-cookie"] == "a=b; Path=/; SameSite=Lax; Max-Age=0; HttpOnly"

    run(main)


@pytest.mark.parametrize(
    "words",
    [
        {"status": 99}, {"headers": {"x-a": "b\r\nset-cookie: c"}}, {"headers": {"x a": "b"}}, {"location": "/a\nb"},
        {"headers": {"Content-Length": "1"}}, {"cookies": {"a": "b; Path=/x"}}, {"cookies": {"a b": "c"}},
        {"cookies": {"a": Cookie("b", path="/; Domain=evil.example")}},
        {"cookies": {"a": Cookie("b", max_age="1; Domain=evil.example")}},  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_a_reply_can_hold_nothing_that_splits_an_answer(words: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"can't be set|not allowed"):
        Reply(None, **words)


@pytest.mark.parametrize(
    "where",
    ["//evil.example", "https://evil.example/", "javascript:alert(1)", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
     " //evil.example", "/a\x00", "data:,x", "HTTPS:evil.example"],
)  # fmt: skip
def test_a_reply_leads_to_no_other_site_unless_it_says_so(where: str) -> None:
    with pytest.raises(ValueError, match="external=True"):
        Reply(None, status=303, location=where)
    assert all(value.isascii() for _, value in Reply(None, location="/é?a=ü#x").fields(secure=True))
    with pytest.raises(ValueError, match="can't be set"):
        Reply(None, headers={"Location": where})


def test_a_reply_may_lead_to_another_site_that_is_meant() -> None:
    pay = Reply(None, status=303, location="https://pay.example/a?b=c%20d", external=True)
    assert pay.fields(secure=True) == [(b"location", b"https://pay.example/a?b=c%20d")]
    for where in ("javascript:alert(1)", "/here", "//pay.example", "https:///x"):
        with pytest.raises(ValueError, match="http://"):
            Reply(None, location=where, external=True)


def test_only_effects_and_views_choose_status_and_fields() -> None:
    page = Journey("page", "/page")

    @page.part
    async def where() -> Reply[str]:
        return Reply("x", location="/")

    with pytest.raises(StackError, match="part 'where' returns a Reply; allowed for effects and views"):
        build([page])


def test_a_key_of_another_body_keeps_nobody_waiting() -> None:
    buy = Journey("buy", "/buy", methods=["POST"], deadline="300ms")

    @buy.effect
    async def order(body: dict[str, int]):
        return body

    async def main() -> None:
        app = build([buy])
        answers = [await post(app, body={"n": n}, idempotency_key="k") for n in (1, 2, 1)]
        assert [outcome.status for outcome in answers] == [200, 409, 200]

    run(main)


def test_an_effect_that_was_out_of_time_is_still_undone_and_others_too() -> None:
    """What hangs or fails in one compensation ends neither the next one nor what the client is told."""
    buy = Journey("buy", "/buy", methods=["POST"], deadline="200ms")
    undone: list[str] = []
    posted = asyncio.Event()

    @buy.effect(hidden=True)
    async def payment(orders) -> dict[str, Any]:
        return (await orders.post("/payments")).json()

    @buy.effect(hidden=True)
    async def parcel() -> int:
        return 1

    @buy.effect
    async def order(parcel: int, orders) -> dict[str, Any]:
        orders_service.hold = asyncio.Event()
        return (await orders.post("/orders")).json()

    @buy.compensate("payment")
    async def refund(payment: dict[str, Any], orders) -> None:
        orders_service.hold = None
        await orders.post("/refunds")
        undone.append("payment")
        posted.set()

    @buy.compensate("parcel")
    async def take_back(parcel: int) -> None:
        undone.append("parcel")
        await asyncio.sleep(600)

    orders_service = Orders()

    async def main() -> None:
        app = build([buy], services={"orders": orders_service})
        assert (await post(app, idempotency_key="k")).status == 504
        await posted.wait()
        assert undone == ["parcel", "payment"]
        await app.stop()

    run(main)


def test_what_was_undone_is_done_again_under_another_key() -> None:
    """A service that knows keys would answer with the payment that has been refunded."""
    buy = Journey("buy", "/buy", methods=["POST"])
    fail = [True]

    @buy.effect
    async def payment(orders) -> dict[str, Any]:
        return (await orders.post("/payments")).json()

    @buy.effect(hidden=True)
    async def order(payment: dict[str, Any]) -> int:
        if fail.pop() if fail else False:
            raise Conflict("sold out")
        return 1

    @buy.compensate("payment")
    async def refund(payment: dict[str, Any], orders) -> None:
        await orders.post("/refunds")

    async def main() -> None:
        orders = Orders()
        app = build([buy], services={"orders": orders})
        assert (await post(app, idempotency_key="k")).status == 409
        assert (await post(app, idempotency_key="k")).body == {"payment": {"id": 3}}
        assert orders.keys == ["k", "k.payment.undo", "k~1"]

    run(main)


def test_a_replay_has_what_compensations_name_too() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])

    @buy.part
    async def price() -> int:
        return 7

    @buy.effect
    async def order(price: int) -> dict[str, int]:
        return {"id": price}

    @buy.compensate("order")
    async def undo(order: dict[str, int], price: int) -> None: ...

    async def main() -> None:
        app = build([buy])
        for _ in range(2):
            assert (await post(app, idempotency_key="k")).body == {"price": 7, "order": {"id": 7}}

    run(main)


def test_a_client_that_leaves_loses_nothing_of_its_session() -> None:
    buy, cart = Journey("buy", "/buy", methods=["POST"]), Journey("cart", "/cart", methods=["POST"])
    began, go_on = asyncio.Event(), asyncio.Event()

    @buy.effect
    async def order(session) -> int:
        began.set()
        await go_on.wait()
        session["cart"] = []
        return 1

    @cart.part
    async def items(session) -> list[int]:
        return session.setdefault("cart", [1])

    async def main() -> None:
        app = build([buy, cart])
        cookie = (await post(app, "/cart")).headers["set-cookie"].split(";")[0]
        left = asyncio.ensure_future(post(app, cookie=cookie))
        await began.wait()
        left.cancel()
        await asyncio.wait([left])
        go_on.set()
        assert (await post(app, "/cart", cookie=cookie)).body == {"items": []}
        await app.stop()

    run(main)


def test_the_last_step_of_a_funnel_is_replayed_and_not_out_of_order() -> None:
    home, buy = Journey("home", "/home", methods=["POST"]), Journey("buy", "/buy", methods=["POST"])

    @home.part
    async def greeting() -> str:
        return "hello"

    @buy.effect
    async def order() -> str:
        return "ordered"

    home.step("buy")
    buy.step("buy", after=home, required=True)

    async def main() -> None:
        app = build([home, buy])
        cookie = (await post(app, "/home")).headers["set-cookie"].split(";")[0]
        for _ in range(2):
            assert (await post(app, cookie=cookie, idempotency_key="k")).body == {"order": "ordered"}
        assert (await post(app, cookie=cookie, idempotency_key="k2")).status == 409

    run(main)


def test_keys_of_tokens_without_a_subject_are_each_callers_own() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])

    @buy.effect
    async def order(identity) -> str:
        return identity["client_id"]

    async def main() -> None:
        app = build([buy])
        for claims, whose in (
            ('{"client_id":"a","exp":1}', "a"),
            ('{"client_id":"b"}', "b"),
            ('{"client_id":"a"}', "a"),
        ):
            found = await post(app, idempotency_key="k", x_tierline_claims=claims)
            assert found.body == {"order": whose}

    run(main)


def test_to_a_service_equal_keys_of_two_callers_are_two() -> None:
    async def main() -> None:
        orders = Orders()
        buy, other = checkout(), Journey("other", "/other", methods=["POST"])

        @other.effect
        async def order(orders) -> dict[str, int]:
            return (await orders.post("/orders")).json()

        app = build([buy, other], services={"orders": orders})
        for sub, number in (("ann", 1), ("eve", 2), ("ann", 1)):
            found = await post(app, idempotency_key="k", x_tierline_claims=f'{{"sub":"{sub}"}}')
            assert found.body["order"]["id"] == number
        also = await post(app, "/other", idempotency_key="k", x_tierline_claims='{"sub":"ann"}')
        assert also.body == {"order": {"id": 3}}, "another journey's effect is another one"
        assert len(set(orders.keys)) == 3 and "k" not in orders.keys
        orders.keys.clear()
        for _ in range(2):
            assert (await post(app, idempotency_key="n")).body["order"]["id"] == 4
        assert set(orders.keys) == {"n"}, "whose first answer was lost is known by the key alone"

    run(main)


def test_a_new_visitor_whose_answer_fails_is_known_by_a_cookie() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])
    orders: list[int] = []
    fail = [True]

    @buy.effect
    async def order() -> int:
        orders.append(1)
        return len(orders)

    @buy.part
    async def advice(order: int) -> str:
        if fail:
            raise NotFound("none")
        return "none"

    async def main() -> None:
        app = build([buy])
        failed = await post(app)
        assert failed.status == 404 and failed.problem is not None
        fail.clear()
        again = await post(app, cookie=failed.headers["set-cookie"].split(";")[0])
        assert again.body["order"] == 1 and orders == [1]

    run(main)


def test_hedged_calls_write_once() -> None:
    screen = Journey("screen", "/screen", methods=["POST"])
    calls: list[int] = []

    @screen.part(hedge="10ms", retries=2)
    async def seen(orders) -> Any:
        calls.append(1)
        if len(calls) == 1:
            assert await becomes(lambda: len(calls) > 1)
        calls.append(1)
        return (await orders.post("/seen")).json()

    async def main() -> None:
        orders = Orders()
        orders.hold = asyncio.Event()
        app = build([screen], services={"orders": orders})
        asked = asyncio.ensure_future(post(app, "/screen"))
        await orders.arrived.wait()
        assert await becomes(lambda: len(calls) == 4), "both have come to the write"
        orders.hold.set()
        assert (await asked).status == 200 and len(orders.keys) == 1

    run(main)


def test_look_ups_are_tried_again_and_made_anew_after_a_write() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])
    stock = [5]
    fail = [True]

    @buy.batch()
    async def stock_of(keys: list[int]) -> dict[int, int]:
        if fail:
            raise OSError("down") if fail.pop() else AssertionError
        return dict.fromkeys(keys, stock[0])

    @buy.effect(retries=1)
    async def taken(stock_of) -> int:
        before = await stock_of(1)
        stock[0] -= 1
        return before

    @buy.part
    async def left(taken: int, stock_of) -> int:
        return await stock_of(1)

    async def main() -> None:
        assert (await post(build([buy]))).body == {"taken": 5, "left": 4}

    run(main)


@pytest.mark.parametrize("said", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "-5", "nan", "9" * 5000])
def test_a_retry_after_that_is_nonsense_harms_nothing(said: str) -> None:
    async def main() -> None:
        orders = Orders()
        orders.fail, orders.retry_after = [429], said
        assert (await post(build([checkout()], services={"orders": orders}))).status == 429

    run(main)


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [
        ("fields=oder", "", 422),
        ("fields=", "", 422),
        ("fields=order,oder.id", "", 422),
        ("stream", "image/png", 406),
    ],
)
def test_what_cannot_be_answered_changes_nothing(query: str, accept: str, status: int) -> None:
    async def main() -> None:
        orders = Orders()
        refused = await post(build([checkout()], services={"orders": orders}), f"/buy?{query}", accept=accept)
        assert refused.status == status and not orders.keys

    run(main)
