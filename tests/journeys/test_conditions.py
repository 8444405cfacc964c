"""`when=`: what doesn't run calls nothing, and its readers know that it may be None."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tierline.errors import StackError
from tierline.journeys import Cache, Dimension, Journey, build, explain
from tierline.journeys.openapi import openapi
from tierline.journeys.testing import Outcome, ask

express = Dimension("express", [False, True], query="express")


async def get(application: Any, target: str, headers: dict[str, str] | None = None) -> Outcome:
    return await ask(application, "GET", target, headers or {}, None, Outcome())


def basket(calls: list[str]) -> Journey:
    page = Journey("basket", "/basket/{n}", uses=[express])

    @page.part
    async def items(n: int) -> list[int]:
        await asyncio.sleep(0)
        return list(range(n))

    @page.part(hidden=True)
    async def couriers() -> list[str]:
        calls.append("couriers")
        await asyncio.sleep(0)
        return ["bike"]

    @page.part(when="express")
    async def fast(couriers: list[str]) -> dict[str, str]:
        calls.append("fast")
        return {"by": couriers[0]}

    @page.part(when=lambda items, express: items and not express, fallback=[])
    async def advice(items: list[int]) -> list[int] | None:
        calls.append("advice")
        return items[:1]

    @page.part(when="items")
    def total(items: list[int]) -> int:
        return sum(items)

    @page.part
    def note(fast: dict[str, str] | None, advice: list[int] | None) -> str:
        return f"{fast} {advice}"

    @page.view("mobile")
    def mobile(note, fast: dict[str, str] | None, total: int | None):
        return {"note": note, "fast": fast, "total": total}

    return page


def test_a_condition_that_does_not_hold_calls_nothing_and_leaves_the_field_out() -> None:
    calls: list[str] = []
    application = build([basket(calls)])

    async def main() -> None:
        both = await get(application, "/basket/3?express=true")
        assert both.body == {
            "items": [0, 1, 2], "fast": {"by": "bike"}, "advice": None, "total": 3, "note": "{'by': 'bike'} None",
        }  # fmt: skip
        assert calls == ["couriers", "fast"]
        calls.clear()
        slow = await get(application, "/basket/3")
        assert slow.body == {"items": [0, 1, 2], "advice": [0], "total": 3, "note": "None [0]"}
        assert calls == ["advice"]
        calls.clear()
        empty = await get(application, "/basket/0")
        assert empty.body == {"items": [], "advice": None, "note": "None None"}
        assert calls == [] and "x-tierline-degraded" not in empty.headers
        mobile = await get(application, "/basket/0", {"x-client": "mobile"})
        assert mobile.body == {"note": "None None", "fast": None, "total": None}

    asyncio.run(main())


def test_fields_and_streams_leave_it_out_too() -> None:
    application = build([basket([])])

    async def main() -> None:
        assert (await get(application, "/basket/1?fields=fast,items")).body == {"items": [0]}
        assert (await get(application, "/basket/1?fields=fast.by&express=true")).body == {
            "fast": {"by": "bike"}
        }
        events = (await get(application, "/basket/1?stream")).body
        assert {event["part"] for event in events[:-1]} == {"items", "advice", "total", "note"}
        assert events[-1]["skipped"] == []

    asyncio.run(main())


def test_it_is_explained_and_described() -> None:
    page = basket([])
    text = explain(page)
    assert "only when express" in text
    assert "only when a function of items, express holds" in text
    schema = openapi([page])["components"]["schemas"]["BasketAnswer"]
    assert schema["required"] == ["items", "advice", "note"]


def test_a_condition_that_raises_fails_its_part_alone() -> None:
    page = Journey("page", "/page", uses=[express])

    @page.part(when=lambda express: 1 / 0, fallback=5)
    def shown() -> int:
        return 1

    outcome = asyncio.run(page.call())
    assert outcome.body["shown"] == 5
    assert outcome.degraded == ["shown"]


def test_what_is_cached_is_kept_by_what_conditions_read() -> None:
    calls: list[Any] = []
    page = Journey("page", "/page", uses=[express])

    @page.part(when="express", cache="60s")
    async def price() -> int:
        calls.append("price")
        return 7

    @page.part(cache="60s")
    async def shown(price: int | None) -> str:
        calls.append("shown")
        return str(price)

    async def main() -> None:
        application = build([page])
        for target, body in (
            ("/page", {"shown": "None"}),
            ("/page?express=true", {"price": 7, "shown": "7"}),
            ("/page", {"shown": "None"}),
            ("/page?express=true", {"price": 7, "shown": "7"}),
        ):
            assert (await get(application, target)).body == body
        assert calls == ["shown", "price", "shown"]

    asyncio.run(main())


def test_conditions_of_conditions_and_of_what_they_gate() -> None:
    calls: list[str] = []
    page = Journey("page", "/page", uses=[express])

    @page.part(hidden=True)
    async def stock() -> int:
        calls.append("stock")
        return 0

    @page.part(when="express")
    async def courier(stock: int) -> int:
        calls.append("courier")
        return stock

    # Its condition is worked out of the part that only it and the one above need.
    @page.part(when=lambda stock, courier: stock == 0 and courier is None)
    async def later(stock: int) -> str:
        calls.append("later")
        return "later"

    @page.part(when="courier")
    async def never(courier: int | None) -> int:
        calls.append("never")
        return 1

    async def main() -> None:
        application = build([page])
        assert (await get(application, "/page")).body == {"later": "later"}
        assert (await get(application, "/page?express=true")).body == {"courier": 0}
        assert calls == ["stock", "later", "stock", "courier"]

    asyncio.run(main())


def test_a_condition_on_the_caller_makes_the_answer_private() -> None:
    page = Journey("page", "/page")

    @page.part(when="identity")
    async def mine(catalog: Any) -> int:
        return 1

    @page.part(cache="60s")
    async def everybody(catalog) -> int:
        return 2

    application = build([page], services={"catalog": object()})
    outcome = asyncio.run(get(application, "/page"))
    assert outcome.body == {"everybody": 2}
    assert outcome.headers["cache-control"] == "private, no-cache"


def test_readers_have_to_know() -> None:
    def journey(when: Any = "express") -> Journey:
        page = Journey("page", "/page", uses=[express])
        page.part(when=when, name="price")(price)
        return page

    async def price() -> int:
        return 1

    page = journey()

    @page.part
    def shown(price: int) -> int:
        return price

    with pytest.raises(StackError, match=r"may not run, and is None then; write price: int \| None"):
        build([page])
    page = journey()

    @page.view("web")
    def web(price):
        return price

    with pytest.raises(StackError, match="wants 'price' without a type"):
        build([page])

    async def waits(express: bool) -> bool:
        return express

    for when, why in (
        ("not a name", "is no name"),
        (waits, "neither a name nor a plain function"),
        (7, "neither a name nor a plain function"),
        (lambda: True, "reads nothing"),
        (lambda catalog: True, "would have to be called"),
        ("price", "in a circle"),
        ("expres", "no part, path value or service"),
    ):
        with pytest.raises(StackError, match=why):
            build([journey(when)], services={"catalog": object()})


def test_a_cache_of_everybody_with_a_condition_on_one_is_refused() -> None:
    page = Journey("page", "/page")
    page.part(when="identity", cache=Cache("60s"), name="price")(lambda: 1)
    with pytest.raises(StackError, match="its cache is public"):
        build([page])


@pytest.mark.parametrize(
    ("kind", "words", "why"),
    [
        ("effect", {"when": "express"}, "write the condition in its body"),
        ("effect", {"fallback": None}, "compensate"),
        ("effect", {"cache": "5s"}, "idempotency key"),
        ("effect", {"hedge": "1s"}, "change things twice"),
        ("effect", {"bulkhead": 3}, "one after the other"),
        ("effect", {"defer": True}, "before anything is answered"),
        ("guard", {"when": "express"}, "runs for every request; write the condition in its body"),
        ("guard", {"fallback": None}, "nothing may stand in"),
        ("guard", {"requires": "buy"}, r"Journey\(requires="),
        ("guard", {"cache": "5s"}, "give the cache to a part"),
        ("guard", {"retries": 2}, "name that part"),
    ],
)
def test_words_of_parts_that_effects_and_guards_have_not_say_what_to_write(
    kind: str, words: dict[str, Any], why: str
) -> None:
    page = Journey("order", "/order", methods=["POST"], uses=[express])
    with pytest.raises(StackError, match=rf"{kind}\({next(iter(words))}=….*{why}.*test_conditions\.py:\d+"):
        getattr(page, kind)(**words)
    with pytest.raises(TypeError, match="unexpected keyword argument 'wen'"):
        getattr(page, kind)(wen="express")


def test_a_condition_in_the_body_of_an_effect_or_guard_changes_nothing_where_it_does_not_hold() -> None:
    done: list[str] = []
    page = Journey("order", "/order", methods=["POST"], uses=[express])

    @page.guard
    def checked(express: bool) -> None:
        if express:
            done.append("checked")

    @page.effect
    async def courier(express: bool) -> str | None:
        if not express:
            return None
        done.append("courier")
        return "bike"

    async def main() -> None:
        application = build([page])
        for target, was in (("/order", []), ("/order?express=true", ["checked", "courier"])):
            outcome = await ask(
                application, "POST", target, {"idempotency-key": target, "content-type": "application/json"},
                b"{}", Outcome(),
            )  # fmt: skip
            assert outcome.status == 200, outcome.body
            assert done == was
            assert outcome.body.get("courier") == ("bike" if was else None)

    asyncio.run(main())
