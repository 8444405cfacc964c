"""`?fields=` calls only what the wanted fields need, with a view too. The service is a real one, and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pytest
from counted import Counted, counted
from serving import granian

from tierline.errors import StackError
from tierline.journeys import HTML, Journey, Reply, build, explain
from tierline.journeys.selection import source_of
from tierline.journeys.testing import Outcome, ask

LIMIT = 2


@pytest.fixture(scope="module")
def service() -> Iterator[Counted]:
    with granian("counting:app") as address, counted(address) as found:
        yield found


@pytest.fixture
def shop(service: Counted) -> Counted:
    service.set({})
    return service


def make_product() -> Journey:
    product = Journey("product", "/product/{product_id}", deadline="20s")
    prefix = "no. "

    @product.part
    async def details(product_id: int, shop):
        return (await shop.get("/details")).json()

    @product.part(deadline="5s", fallback=[])
    async def similar(details, shop):
        return [(await shop.get("/similar", of=details["path"])).json()["of"]] * 3

    @product.part(deadline="5s", fallback=None)
    async def stock(shop) -> dict[str, str] | None:
        return (await shop.get("/stock")).json()

    @product.view("mobile")
    def mobile(details, similar: list[str], *, stock: dict[str, str] | None, product_id):
        """What a phone shows."""
        number: str = f"{prefix}{product_id}"
        few = [each for each in similar[:LIMIT]]
        return {
            "number": number,
            "title": details["path"],
            "more": {"similar": few, "count": len(few), "stock": stock and stock["path"]},
            "constant": 1,
        }

    return product


@pytest.mark.parametrize(
    ("fields", "body", "calls"),
    [
        ("number", {"number": "no. 7"}, []),
        ("title", {"title": "/details"}, ["details"]),
        ("title,constant", {"title": "/details", "constant": 1}, ["details"]),
        ("more.stock", {"more": {"stock": "/stock"}}, ["stock"]),
        ("more.count", {"more": {"count": 2}}, ["details", "similar"]),
        ("more.stock,number", {"number": "no. 7", "more": {"stock": "/stock"}}, ["stock"]),
        (
            "more",
            {"more": {"similar": ["/details"] * 2, "count": 2, "stock": "/stock"}},
            ["details", "similar", "stock"],
        ),
    ],
)
def test_a_view_calls_only_what_its_wanted_fields_need(
    shop: Counted, fields: str, body: Any, calls: list[str]
) -> None:
    outcome = shop.ask(make_product(), f"/product/7?fields={fields}", client="mobile")
    assert outcome.body == body
    assert shop.asked() == {f"GET /{name}": 1 for name in calls}


def test_an_answer_without_a_view_calls_only_what_its_wanted_fields_need(shop: Counted) -> None:
    outcome = shop.ask(make_product(), "/product/7?fields=stock.path")
    assert outcome.body == {"stock": {"path": "/stock"}} and shop.asked() == {"GET /stock": 1}


@pytest.mark.parametrize(
    "fields", ["titel", "more.sotck", "title,,titel", "", ",", "number.x.y", "more..stock"]
)
def test_fields_that_a_view_has_not_are_refused(shop: Counted, fields: str) -> None:
    outcome = shop.ask(make_product(), f"/product/7?fields={fields}", client="mobile")
    assert outcome.status == 422 and outcome.problem and outcome.problem["errors"][0]["field"] == "fields"


def test_what_is_missing_is_told_by_the_fields_of_the_view(shop: Counted) -> None:
    shop.set({"/similar": [{"status": 503}]})
    outcome = shop.ask(make_product(), "/product/7", client="mobile")
    (missing,) = outcome.body["degraded"]
    assert missing == {
        "part": "similar",
        "fields": ["more"],
        "why": "service-failed",
        "retryable": True,
        "stale": False,
    }
    assert outcome.body["more"] == {"similar": [], "count": 0, "stock": "/stock"}


def test_guards_and_effects_run_whatever_fields_are_asked_for(shop: Counted) -> None:
    order = Journey("order", "/order", methods=["POST"])

    @order.guard
    async def open_now(shop):
        return (await shop.get("/hours")).json()

    @order.effect
    async def placed(shop) -> dict[str, str]:
        return (await shop.post("/orders")).json()

    @order.part(fallback=None)
    async def advice(shop):
        return (await shop.get("/advice")).json()

    @order.view("mobile")
    def mobile(placed, advice: Any):
        return {"order": placed["path"], "advice": advice}

    outcome = shop.ask(order, "/order?fields=order", client="mobile", method="POST")
    assert outcome.body == {"order": "/orders"}
    assert shop.asked() == {"GET /hours": 1, "POST /orders": 1}
    outcome = shop.ask(order, "/order?fields=odrer", client="mobile", method="POST")
    assert outcome.status == 422
    assert shop.asked()["POST /orders"] == 1, "refused before anything is changed"


def branching(one, two):
    if one:
        return {"one": one}
    return {"two": two}


def spread(one, two):
    return {**one, "two": two}


def walrus(one, two):
    return {"one": (both := one), "two": both + two}


def all_names(one, two):
    return {"one": locals()["two"], "two": two}


def reassigned(one, two):
    two = one
    return {"one": one, "two": two}


def computed(one, two):
    return {"o" + "ne": one, "two": two}


def doubled(one, two):
    return {"one": one, "one": two}  # noqa: F601  the mistake itself


def replied(one, two):
    return Reply({"one": one, "two": two}, status=201)


def nothing(one, two):
    pass


def bare(one, two):
    return


class More(TypedDict):
    two: Any


class Card(TypedDict, total=False):
    one: Any
    more: More


@dataclass
class Made:
    one: Any
    two: Any = 0


class Model(msgspec.Struct):
    one: Any
    two: Any = 0


def typed(one, two) -> Card:
    return Card(one=one, more=More(two=two))


def plain_dict(one, two):
    return dict(one=one, more={"two": two})


def local_type(one, two):
    class Near(TypedDict):
        one: Any

    return Near(one=one)


def shadowed(one, dict):
    return dict(one=one)


def spread_typed(one, two):
    return Card(**one)


def positional(one, two):
    return dict([("one", one)], two=two)


def listed(one, two):
    return [{"one": one, "two": two}]


def as_dataclass(one, two):
    return Made(one=one, two=two)


def as_struct(one, two):
    return Model(one=one, two=two)


def enclosed() -> Any:
    class Inside(TypedDict):
        one: Any
        more: More

    def view(one, two):
        return Inside(one=one, more=More(two=two))

    return view


def pair_of(function: Any) -> Journey:
    pair = Journey("pair", "/pair")

    @pair.part
    async def one(shop):
        return (await shop.get("/one")).json()["path"]

    @pair.part
    async def two(shop):
        return (await shop.get("/two")).json()["path"]

    pair.view("mobile")(function)
    return pair


@pytest.mark.parametrize("function", [typed, plain_dict, enclosed()])
def test_a_view_that_makes_a_dict_by_name_calls_only_what_is_wanted(shop: Counted, function: Any) -> None:
    for fields, body in (
        ("one", {"one": "/one"}),
        ("more.two", {"more": {"two": "/two"}}),
        ("one,more", {"one": "/one", "more": {"two": "/two"}}),
    ):
        shop.set({})
        outcome = shop.ask(pair_of(function), f"/pair?fields={fields}", client="mobile")
        assert outcome.status == 200 and outcome.body == body
        assert set(shop.asked()) == {f"GET /{name}" for name in ("one", "two") if name in str(body)}
    shown = explain(pair_of(function))
    assert "?fields= one runs one; more runs two" in shown, shown


@pytest.mark.parametrize("function", [as_dataclass, as_struct, local_type])
def test_a_view_that_makes_an_object_is_cut_afterwards_and_explain_says_so(
    shop: Counted, function: Any
) -> None:
    outcome = shop.ask(pair_of(function), "/pair?fields=one", client="mobile")
    assert outcome.status == 200 and outcome.body == {"one": "/one"}
    assert shop.asked() == {"GET /one": 1, "GET /two": 1}
    assert "cuts it afterwards" in explain(pair_of(function))


EXEC: dict[str, Any] = {}
exec("def made(one, two):\n    return {'one': one, 'two': two}", EXEC)
UNREADABLE = [
    branching,
    spread,
    walrus,
    all_names,
    reassigned,
    computed,
    doubled,
    replied,
    nothing,
    bare,
    shadowed,
    spread_typed,
    positional,
    listed,
    as_dataclass,
    as_struct,
    local_type,
]


@pytest.mark.parametrize(
    "function", [*UNREADABLE, EXEC["made"], lambda one, two: {"one": one}, msgspec.json.encode]
)
def test_a_view_that_does_not_say_which_field_reads_what_is_run_whole(function: Any) -> None:
    assert source_of(function) is None


@pytest.mark.parametrize("function", [spread, reassigned, EXEC["made"]])
def test_such_a_view_is_cut_afterwards(shop: Counted, function: Any) -> None:
    pair = Journey("pair", "/pair")

    @pair.part
    async def one(shop):
        return {"one": (await shop.get("/one")).json()["path"]}

    @pair.part
    async def two(shop):
        return (await shop.get("/two")).json()["path"]

    pair.view("mobile")(function)
    outcome = shop.ask(pair, "/pair?fields=two", client="mobile")
    assert list(outcome.body) == ["two"] and shop.asked() == {"GET /one": 1, "GET /two": 1}


def test_a_page_is_whole(shop: Counted) -> None:
    product = make_product()

    @product.view("web")
    def page(details, similar: list[str]) -> HTML:
        return HTML("{title}", title=details["path"])

    outcome = shop.ask(product, "/product/7?fields=details", headers={"accept": "text/html"})
    assert outcome.body == "/details"


def test_an_error_in_a_cut_view_names_its_own_line(shop: Counted, caplog: pytest.LogCaptureFixture) -> None:
    product = Journey("product", "/product")

    @product.part
    def one():
        return 1

    @product.view("mobile")
    def mobile(one):
        return {
            "fine": one,
            "wrong": one / 0,
        }

    assert shop.ask(product, "/product?fields=fine", client="mobile").body == {"fine": 1}
    assert shop.ask(product, "/product?fields=wrong", client="mobile").status == 500
    assert f'test_fields.py", line {mobile.__code__.co_firstlineno + 4}' in caplog.text


async def later(one):
    return {"one": one}


async def stream(one):
    yield one


class Later:
    async def __call__(self, one):
        return one


@pytest.mark.parametrize("function", [later, stream, Later(), lambda one: (yield one)])
def test_a_view_that_waits_is_refused_when_it_is_written(function: Any) -> None:
    pair = Journey("pair", "/pair")
    with pytest.raises(StackError, match=r"plain function.* move what it waits for into a part"):
        pair.view("mobile")(function)


def test_many_selections_are_all_cut(shop: Counted) -> None:
    """However many different ones clients ask for, each calls no more than it needs."""
    wide = Journey("wide", "/wide")
    names = [f"part{number}" for number in range(9)]
    for name in names:
        wide.part(name=name)(_calling(f"/{name}"))
    app = shop.build(wide)

    async def main() -> None:
        for number in range(1, 512):
            wanted = [name for bit, name in enumerate(names) if number >> bit & 1]
            outcome = await shop.asks(app, f"/wide?fields={','.join(wanted)}")
            assert outcome.body == {name: f"/{name}" for name in wanted}

    asyncio.run(main())
    assert shop.asked() == {f"GET /{name}": 256 for name in names}


def _calling(path: str) -> Any:
    async def part(shop):
        return (await shop.get(path)).json()["path"]

    return part


def test_a_field_that_does_not_exist_is_told_with_those_beside_it() -> None:
    page = Journey("page", "/page")

    @page.part
    async def films() -> list[dict[str, Any]]:
        return [{"id": 1, "by": {"name": "x"}}]

    async def main() -> None:
        app = build([page])
        for fields, said in (
            ("films.titel", "'titel' is no field of 'films'; available: by, id"),
            ("films.by.nam", "'nam' is no field of 'films.by'; available: name"),
            ("flims", "'flims' is no field; available: films"),
        ):
            outcome = await ask(app, "GET", f"/page?fields={fields}", {}, None, Outcome())
            assert outcome.status == 422 and outcome.problem is not None
            assert outcome.problem["errors"][0]["why"] == said

    asyncio.run(main())
