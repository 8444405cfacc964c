"""Dimensions: one of a few values, part of what is stored and of what the caches in front keep apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tierline.errors import StackError
from tierline.journeys import Cache, Dimension, Journey, build, dimension, explain
from tierline.journeys.openapi import openapi
from tierline.journeys.testing import Outcome, ask

currency = Dimension("currency", ["EUR", "USD"], query="currency", cookie="currency", header="x-currency")
locale = Dimension("locale", ["en", "de"], query="lang", header="accept-language")


@dimension(["eu", "us"], header="x-country")
def region(country: str) -> str:
    return {"US": "us", "CA": "us"}.get(country, "eu")


def product(calls: list[Any] | None = None) -> Journey:
    page = Journey("product", "/products/{product_id}", uses=[currency, locale, region])

    @page.part(cache=Cache("60s", keys=["price:{product_id}:{currency}"]))
    async def price(product_id: int, currency: str) -> str:
        if calls is not None:
            calls.append(currency)
        return f"{product_id} {currency}"

    @page.part(cache="60s")
    async def title(product_id: int, locale, region) -> str:
        return f"{locale} {region}"

    @page.view("mobile")
    def mobile(price, currency):
        return {"price": price, "currency": currency}

    return page


async def get(application: Any, target: str, headers: dict[str, str] | None = None) -> Outcome:
    return await ask(application, "GET", target, headers or {}, None, Outcome())


def test_query_before_cookie_before_header_and_anything_else_is_the_default() -> None:
    application = build([product()])
    all_three = {"cookie": 'a=1; currency="USD"; currency=EUR', "x-currency": "EUR"}
    for target, headers, expected in (
        ("/products/1", {}, "1 EUR"),
        ("/products/1", {"x-currency": "usd"}, "1 USD"),
        ("/products/1", all_three, "1 USD"),
        ("/products/1?currency=eur", all_three, "1 EUR"),
        ("/products/1?currency=EUR&currency=USD", {}, "1 USD"),
        ("/products/1?currency=XXX", {"x-currency": "USD"}, "1 EUR"),
        ("/products/1?currency=", {"x-currency": "USD"}, "1 USD"),
        ("/products/1", {"cookie": "currency=%00; currency"}, "1 EUR"),
        ("/products/1", {"x-currency": "x" * 9000}, "1 EUR"),
    ):
        assert asyncio.run(get(application, target, headers)).body["price"] == expected, (target, headers)


def test_a_language_is_negotiated_and_a_function_chooses() -> None:
    application = build([product()])
    for target, headers, expected in (
        ("/products/1", {"accept-language": "fr, de-CH;q=0.8"}, "de eu"),
        ("/products/1", {"accept-language": "fr", "x-country": "CA"}, "en us"),
        ("/products/1?lang=DE", {"accept-language": "en", "x-country": "\x00"}, "de eu"),
    ):
        assert asyncio.run(get(application, target, headers)).body["title"] == expected


def test_it_is_part_of_the_key_and_of_vary_where_it_is_read() -> None:
    calls: list[Any] = []
    application = build([product(calls)])

    async def main() -> None:
        for each in ("EUR", "USD", "eur", "XXX", "USD"):
            await get(application, "/products/1", {"x-currency": each})
        assert calls == ["EUR", "USD"]
        whole = await get(application, "/products/1")
        assert set(whole.headers["vary"].split(", ")) == {
            "x-client", "x-currency", "cookie", "accept-language", "x-country",
        }  # fmt: skip
        assert whole.headers["cache-control"] == "public, max-age=60"
        assert whole.headers["surrogate-key"] == "product price:1:EUR"
        mobile = await get(application, "/products/1", {"x-client": "mobile", "x-currency": "USD"})
        assert mobile.body == {"price": "1 USD", "currency": "USD"}
        assert mobile.headers["vary"] == "x-client, x-currency, cookie"

    asyncio.run(main())


def test_it_is_explained_described_and_given_by_tests() -> None:
    page = product()
    text = explain(page)
    assert (
        "currency: EUR | USD, of query currency, cookie currency, header x-currency; anything else is EUR"
        in text
    )
    assert "region: eu | us, of header x-country by region" in text
    parameters = openapi([page])["paths"]["/products/{product_id}"]["get"]["parameters"]
    named = {(p["in"], p["name"]): p["schema"] for p in parameters}
    assert named["query", "currency"]["enum"] == ["EUR", "USD"]
    assert named["header", "x-currency"] == {"enum": ["EUR", "USD"], "default": "EUR"}
    assert ("cookie", "currency") in named and ("query", "lang") in named
    outcome = asyncio.run(page.call(product_id=1, currency="USD", locale="de", region="US"))
    assert outcome.body == {"price": "1 USD", "title": "de us"}


def test_numbers_and_flags_are_what_they_are() -> None:
    flag = Dimension("compact", [False, True], cookie="compact")
    page = Journey("page", "/page", uses=[flag])

    @page.part
    def shown(compact: bool) -> bool:
        return compact

    for text, value in (("true", True), ("True", True), ("1", False), ("", False)):
        outcome = asyncio.run(get(build([page]), "/page", {"cookie": f"compact={text}"}))
        assert outcome.body == {"shown": value}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"values": ["EUR"]}, "2 to 64"),
        ({"values": "EURUSD"}, "2 to 64"),
        ({"values": ["a", "A"]}, "the same"),
        ({"values": [1.5, 2.5]}, "texts, whole numbers or booleans"),
        ({"default": "CHF"}, "none of its values"),
        ({"query": ""}, "read from nothing"),
        ({"query": "fields"}, "selects fields"),
        ({"header": "authorization"}, "who the caller is"),
        ({"header": "cookie"}, "say cookie="),
        ({"cookie": "a;b"}, "not the name of a cookie"),
        ({"name": "session"}, "the engine itself provides"),
        ({"name": "a-b"}, "is not a name"),
    ],
)
def test_what_can_not_be_one_is_refused(words: dict[str, Any], why: str) -> None:
    given = {"name": "currency", "values": ["EUR", "USD"], "query": "currency", **words}
    with pytest.raises(StackError, match=why):
        Dimension(given.pop("name"), given.pop("values"), **given)


def test_two_things_of_one_name_are_refused() -> None:
    with pytest.raises(StackError, match="a value in the path"):
        Journey("page", "/{currency}", uses=[currency])
    with pytest.raises(StackError, match="another dimension"):
        Journey("page", "/page", uses=[currency, currency])
    with pytest.raises(StackError, match="is neither a Dimension nor Entities"):
        Journey("page", "/page", uses=["currency"])  # type: ignore[list-item]
    page = Journey("page", "/page", uses=[currency])
    with pytest.raises(StackError, match="has the name of a dimension"):
        page.part(name="currency")(lambda: 1)

    @page.part
    def wrong(currency: int) -> int:
        return currency

    with pytest.raises(StackError, match="wants 'currency' as int, the dimension is str"):
        build([page])
    with pytest.raises(StackError, match="both a service and a dimension"):
        build([product()], services={"currency": object()})
