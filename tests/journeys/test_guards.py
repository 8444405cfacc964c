"""Guards, requirements, names that can't be mistaken, and what no page of another site may send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tierline.errors import StackError
from tierline.journeys import HTML, Cache, Forbidden, Journey, JourneyError, Query, Unauthorized, build
from tierline.journeys.fault import BadInput
from tierline.journeys.request import decode_body, is_own
from tierline.journeys.testing import Outcome, ask

ADA = {"sub": "ada", "scope": "orders:read orders:write", "role": "admin"}
EVE = {"sub": "eve", "scope": "orders:read"}


async def request(
    application: Any, target: str, method: str = "GET", body: Any = None, **headers: str
) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(application, method, target, named, body, Outcome())


def guarded() -> tuple[Journey, list[str]]:
    calls: list[str] = []
    account = Journey("account", "/account")

    @account.guard
    async def signed_in(identity):
        if identity is None:
            raise Unauthorized("log in first")
        return identity["sub"]

    @account.part
    async def orders(orders_of):
        calls.append("orders")
        return []

    @account.part(hidden=True)
    async def orders_of(signed_in):
        calls.append("orders_of")
        return signed_in

    @account.view("mobile")
    def mobile():
        return {"hello": True}

    @account.view("affiliate")
    def affiliate(orders) -> HTML:
        return HTML("<p>{n}</p>", n=len(orders))

    return account, calls


@pytest.mark.parametrize("client", ["web", "mobile", "affiliate"])
@pytest.mark.parametrize("target", ["/account", "/account?stream", "/account?fields=orders"])
def test_a_guard_runs_first_for_every_view_and_nothing_else_when_it_refuses(client: str, target: str) -> None:
    account, calls = guarded()
    refused = account.call(client=client)
    outcome = asyncio.run(refused)
    assert outcome.status == 401 and calls == []
    assert outcome.headers["www-authenticate"] == "Bearer" and outcome.headers["cache-control"] == "no-store"

    async def main() -> None:
        application = build([account])
        headers = {"x_client": client, **({"accept": "text/html"} if client == "affiliate" else {})}
        if "stream" in target and client == "affiliate":
            headers["accept"] = "application/x-ndjson"
        assert (await request(application, target, **headers)).status == 401
        assert calls == []
        allowed = await request(application, target, x_tierline_claims='{"sub":"ada"}', **headers)
        assert allowed.status in (200, 422)
        if allowed.status == 200 and "stream" not in target:
            assert allowed.headers["cache-control"].startswith("private")

    asyncio.run(main())


def test_a_guard_that_hangs_or_fails_refuses() -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    for guard in (never, lambda: 1 / 0):
        ran = []
        account = Journey("account", "/account", deadline="50ms")
        account.guard(name="checked")(guard)

        @account.part
        async def secret(ran=None):
            return "secret"

        outcome = asyncio.run(account.call())
        assert outcome.status >= 500 and "secret" not in str(outcome.body) and not ran


@pytest.mark.parametrize(
    ("requires", "ada", "eve"),
    [
        (True, 200, 200),
        ("orders:read", 200, 200),
        ("orders:write", 200, 403),
        (["orders:read", "orders:write"], 200, 403),
        ({"role": "admin"}, 200, 403),
        ({"sub": "eve"}, 403, 200),
    ],
)
def test_a_journey_requires_scopes_or_claims(requires: Any, ada: int, eve: int) -> None:
    account = Journey("account", "/account", requires=requires)

    @account.part(cache="60s")
    async def prices():
        return 1

    assert asyncio.run(account.call()).status == 401
    outcome = asyncio.run(account.call(identity=ADA))
    assert outcome.status == ada
    assert "public" not in outcome.headers["cache-control"]
    assert asyncio.run(account.call(identity=EVE)).status == eve


def test_a_part_that_the_caller_may_not_have_is_not_run_nor_what_only_it_needs() -> None:
    calls = []
    page = Journey("page", "/page")

    @page.part
    async def title():
        return "Shop"

    @page.part(hidden=True)
    async def ledger():
        calls.append("ledger")
        return 17

    @page.part(requires="orders:write", fallback=None)
    async def revenue(ledger) -> int | None:
        calls.append("revenue")
        return ledger

    @page.view("mobile")
    def mobile(title, revenue: int | None):
        return {"title": title, "revenue": revenue}

    for client in ("web", "mobile"):
        calls.clear()
        outcome = asyncio.run(page.call(identity=EVE, client=client))
        assert outcome.body == {"title": "Shop", "revenue": None} and calls == []
        assert outcome.degraded == [] and "public" not in outcome.headers["cache-control"]
        assert asyncio.run(page.call(client=client)).body["revenue"] is None
        assert asyncio.run(page.call(identity=ADA, client=client)).body["revenue"] == 17


def test_a_part_without_a_fallback_refuses_before_any_part_runs() -> None:
    calls = []
    page = Journey("page", "/page")

    @page.part
    async def title():
        calls.append("title")
        return "Shop"

    @page.part(requires="orders:write")
    async def revenue():
        return 17

    outcome = asyncio.run(page.call(identity=EVE))
    assert outcome.status == 403 and outcome.problem is not None
    assert "orders:write" in outcome.problem["detail"] and calls == []


def unread() -> Journey:
    page = Journey("page", "/page")

    @page.part
    async def title():
        return 1

    @page.part(hidden=True)
    async def signed_in(identity):
        raise Unauthorized

    return page


def in_no_view() -> Journey:
    page = Journey("page", "/page")

    @page.part
    async def title():
        return 1

    @page.part
    async def signed_in(identity):
        raise Unauthorized

    for kind in ("web", "mobile", "affiliate"):
        page.view(kind)(lambda title: {"title": title})
    return page


def misspelt(name: str, *, service: bool = False) -> Journey:
    page = Journey("page", "/page/{item_id}")

    async def stock(item_id: int):
        return 1

    page.part(stock)
    names: dict[str, Any] = {}
    exec(f"async def left({name}: int): return {name}", names)
    page.part(names["left"])
    return page


def in_view() -> Journey:
    page = Journey("page", "/page")

    @page.part
    async def reviews():
        return []

    @page.view("web")
    def web(reveiws: list[str]):
        return reveiws

    return page


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (unread, "part 'signed_in' is hidden and nothing reads it"),
        (in_no_view, "part 'signed_in' is in no client's view"),
        (lambda: misspelt("stcok"), "did you mean 'stock'"),
        (lambda: misspelt("stocks"), "did you mean 'stock'"),
        (lambda: misspelt("item_ids"), "did you mean 'item_id'"),
        (lambda: misspelt("sesion"), "did you mean 'session'"),
        (lambda: misspelt("catalogue"), "did you mean 'catalogues'"),
        (lambda: misspelt("fields"), "'fields', which is the name of"),
        (in_view, "did you mean 'reviews'"),
    ],
)
def test_mistakes_that_would_be_unsafe_are_errors_when_built(make: Any, says: str) -> None:
    with pytest.raises(StackError, match=says) as raised:
        build([make()], services={"catalogues": object()})
    assert "test_guards.py:" in str(raised.value) or "<string>" in str(raised.value)


def test_reserved_names_are_refused() -> None:
    page = Journey("page", "/page")
    for name in ("session", "degraded", "body", "stream"):
        with pytest.raises(StackError, match=f"part '{name}' has the name of"):
            page.part(name=name)(lambda: 1)
    with pytest.raises(StackError, match="'client'"):
        Journey("page", "/page/{client}")


def test_a_marked_query_value_may_be_near_any_name() -> None:
    page = Journey("page", "/page")

    @page.part
    async def stock(stocks: Query[list[int]] = [1]):  # noqa: B006
        return stocks

    @page.part
    async def other(stock, stocks):
        return len(stocks)

    assert asyncio.run(page.call(stocks=[3, 4])).body == {"stock": [3, 4], "other": 2}


def test_a_marked_query_value_that_may_be_missing_is_no_service_of_that_name() -> None:
    page = Journey("page", "/page")

    @page.part
    async def shown(stock: Query[int] | None = None):
        return stock

    app = build([page], services={"stock": object()})
    for target, value in (("/page?stock=4", 4), ("/page", None)):
        assert asyncio.run(request(app, target)).body == {"shown": value}


def test_html_escapes_unless_trusted() -> None:
    evil = "<script>alert(1)</script>"
    assert HTML("<h1>{title}</h1>", title=evil) == "<h1>&lt;script&gt;alert(1)&lt;/script&gt;</h1>"
    assert "<script>" not in HTML(f"<h1>{evil}</h1>")
    inner = HTML("<b>{x}</b>", x="a&b")
    assert HTML("<p>{inner}</p>", inner=inner) == "<p><b>a&amp;b</b></p>"
    assert HTML(inner) == inner and HTML.trusted("<hr>") == "<hr>"
    page = Journey("page", "/page")

    @page.part
    async def title():
        return evil

    @page.view("web")
    def web(title) -> HTML:
        return f"<h1>{title}</h1>"  # type: ignore[return-value]

    outcome = asyncio.run(page.call(headers={"accept": "text/html"}))
    assert "<script>" not in outcome.body


def posting() -> Any:
    send = Journey("send", "/send", methods=["POST"])

    @send.part
    async def received(body: dict[str, int]):
        return body

    return build([send])


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 200), ("application/json; charset=utf-8", 200), ("application/merge-patch+json", 200),
        ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("multipart/form-data", 415), ("", 415),
        ("application/jsonx", 415), ("text/json", 415),
    ],
)  # fmt: skip
def test_bodies_of_other_media_types_are_refused(media: str, status: int) -> None:
    outcome = asyncio.run(request(posting(), "/send", "POST", {"a": 1}, content_type=media))
    assert outcome.status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://shop.example:8443"}, 200),
        ({"origin": "https://shop.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "same-origin", "origin": "https://shop.example:8443"}, 200),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "none"}, 200),
        ({}, 200),
    ],
)
def test_what_a_cookie_authorises_comes_from_the_own_origin(headers: dict[str, str], status: int) -> None:
    common = {"content_type": "application/json", "host": "shop.example:8443"}
    for cookie in ({"cookie": "tierline_session=x"}, {}):
        outcome = asyncio.run(request(posting(), "/send", "POST", {"a": 1}, **common, **headers, **cookie))
        assert outcome.status == (status if cookie else 200)


def test_an_origin_that_is_none_is_not_the_own_one_where_no_host_is_said() -> None:
    assert not is_own({b"cookie": b"a=b", b"origin": b"null"}, ())
    assert not is_own({b"cookie": b"a=b", b"origin": b""}, ())


def test_trusted_origins_may_send() -> None:
    send = Journey("send", "/send", methods=["POST"])

    @send.part
    async def received():
        return 1

    app = build([send], origins=["https://app.example"])
    sent = {"cookie": "a=b", "host": "api.example", "sec_fetch_site": "same-site"}
    assert asyncio.run(request(app, "/send", "POST", **sent, origin="https://app.example")).status == 200
    assert asyncio.run(request(app, "/send", "POST", **sent, origin="https://api2.example")).status == 403


def test_a_cached_part_that_reads_the_request_says_what_it_reads() -> None:
    page = Journey("page", "/page")
    seen = []

    @page.part(cache=Cache("60s", vary=["X-Experiment"]))
    async def prices(request):
        seen.append(request.header("x-experiment"))
        return request.header("x-experiment") or "none"

    async def main() -> None:
        app = build([page])
        for value in ("a", "b", "a", ""):
            outcome = await request(app, "/page", x_experiment=value)
            assert outcome.body["prices"] == (value or "none")
            assert "x-experiment" in outcome.headers["vary"] and "public" in outcome.headers["cache-control"]

    asyncio.run(main())
    assert seen == ["a", "b", ""]


def test_a_cached_part_can_read_no_other_fields() -> None:
    page = Journey("page", "/page")

    @page.part(cache=Cache("60s", vary=["x-experiment"]))
    async def prices(request):
        return request.header("authorization")

    assert asyncio.run(page.call()).status == 500


@pytest.mark.parametrize("through", [False, True])
def test_a_cache_over_the_request_is_refused_when_built(through: bool) -> None:
    page = Journey("page", "/page")
    if through:

        @page.part(hidden=True)
        async def tenant(request):
            return request.header("x-tenant")

        @page.part(cache="60s")
        async def prices(tenant):
            return tenant
    else:

        @page.part(cache="60s", name="prices")
        async def direct(request):
            return request.header("x-tenant")

    with pytest.raises(StackError, match="vary="):
        build([page])


def test_an_uncached_part_that_reads_the_request_makes_the_answer_private() -> None:
    page = Journey("page", "/page")

    @page.part(cache="60s")
    async def prices():
        return 1

    @page.part
    async def label(prices, request):
        return request.header("x-tenant")

    assert asyncio.run(page.call()).headers["cache-control"] == "private, no-cache"


def test_a_journeys_cache_stores_what_is_the_same_for_everybody() -> None:
    page = Journey("page", "/page", cache="60s")
    calls = []

    @page.part
    async def prices():
        calls.append("prices")
        return 1

    @page.part
    async def mine(identity):
        calls.append("mine")
        return (identity or {}).get("sub")

    async def main() -> None:
        app = build([page])
        for sub in ("ada", "eve"):
            outcome = await request(app, "/page", x_tierline_claims=f'{{"sub":"{sub}"}}')
            assert outcome.body == {"prices": 1, "mine": sub}
            assert "private" in outcome.headers["cache-control"]

    asyncio.run(main())
    assert sorted(calls) == ["mine", "mine", "prices"]


def test_forbidden_of_a_guard_is_what_the_client_gets() -> None:
    page = Journey("page", "/page/{item}")

    @page.guard
    async def allowed(item: str):
        if item == "secret":
            raise Forbidden("not this one")

    @page.part(cache="60s")
    async def shown(item: str):
        return item

    assert asyncio.run(page.call(item="secret")).status == 403
    open_ = asyncio.run(page.call(item="open"))
    assert open_.body == {"shown": "open"}
    assert "public" in open_.headers["cache-control"], "the guard asks for nothing but the path"


@pytest.mark.parametrize("raw", [b'"\xff"', b"[" * 200_000, b"1e999", b"9" * 5000, b'"\\ud800"'])
def test_a_body_that_is_no_json_is_the_callers_mistake(raw: bytes) -> None:
    with pytest.raises(BadInput):
        decode_body(raw, Any)


def test_an_error_with_odd_words_is_still_answered() -> None:
    screen = Journey("screen", "/screen")

    @screen.part
    async def odd():
        raise JourneyError(
            "odd", title="Odd", headers={"x-a": "日本", "x-b": "a\r\nx-c: d"}, retry_after=float("inf")
        )

    outcome = asyncio.run(request(build([screen]), "/screen"))
    assert outcome.status == 500 and outcome.problem is not None and outcome.problem["title"] == "Odd"
    assert not {"x-a", "x-b", "retry-after"} & outcome.headers.keys()
