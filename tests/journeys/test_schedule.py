"""What is found out when a journey is built: names, types, circles, each with file and line."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Annotated

import msgspec
import pytest

from tierline.errors import StackError
from tierline.journeys import Cache, Journey, build
from tierline.journeys.explaining import levels


class Film(msgspec.Struct):
    id: int


def test_importing_a_journey_module_imports_no_server_and_no_http_client() -> None:
    code = (
        "import sys; from tierline.journeys import Journey, Cache\n"
        "j = Journey('film', '/film/{film_id}')\n"
        "@j.part\nasync def details(film_id: int, catalog): ...\n"
        "heavy = {'granian', 'httpx', 'asyncio', 'redis', 'duckdb', 'uvloop'} & set(sys.modules)\n"
        "print(heavy or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"


def test_parameters_are_resolved_by_name_and_type() -> None:
    film = Journey("film", "/film/{film_id}")

    @film.part
    async def details(film_id: int, catalog): ...

    @film.part
    async def similar(details, page: int = 1): ...

    @film.part
    async def rating(film_id, session, members): ...

    shape = film.shape()
    assert shape.services == ("catalog", "members")
    assert shape.inputs["film_id"].type is int
    assert shape.inputs["page"].source == "query"
    assert levels(shape) == [["details", "rating"], ["similar"]]


def test_a_circle_is_told_with_its_way_and_place() -> None:
    film = Journey("film", "/film")

    @film.part
    async def one(three): ...

    @film.part
    async def two(one): ...

    @film.part
    async def three(two): ...

    with pytest.raises(StackError, match=r"circle: one → three → two → one \(.*test_schedule\.py:\d+\)"):
        film.shape()


def test_a_missing_name_is_told_with_the_nearest_and_all_there_are() -> None:
    film = Journey("film", "/film/{film_id}")

    @film.part
    async def details(film_id, katalog): ...

    with pytest.raises(StackError) as error:
        build([film], services={"catalog": object()})
    assert "'katalog'" in str(error.value)
    assert "did you mean 'catalog'" in str(error.value)
    line = details.__code__.co_firstlineno
    assert re.search(rf"test_schedule\.py:{line}\)", str(error.value))


def test_a_type_mismatch_between_parts_is_told() -> None:
    film = Journey("film", "/film")

    @film.part
    async def details() -> list[int]: ...

    @film.part
    async def similar(details: dict[str, int]): ...

    with pytest.raises(StackError, match=r"as dict\[str, int\], but part 'details' returns list"):
        film.shape()


def test_a_fallback_of_none_is_a_type_mismatch_too() -> None:
    film = Journey("film", "/film")

    @film.part(fallback=None)
    async def details() -> Film: ...

    @film.part
    async def similar(details: Film): ...

    with pytest.raises(StackError, match="falls back to None"):
        film.shape()


def test_one_value_has_one_type() -> None:
    film = Journey("film", "/film/{film_id}")

    @film.part
    async def one(film_id: int): ...

    @film.part
    async def two(film_id: str): ...

    with pytest.raises(StackError, match="elsewhere it is int"):
        film.shape()


def test_a_public_cache_of_something_personal_is_refused() -> None:
    film = Journey("film", "/film")

    @film.part(cache=Cache("60s"))
    async def mine(session): ...

    with pytest.raises(StackError, match="another's answer"):
        film.shape()


def test_surrogate_keys_name_inputs_that_exist() -> None:
    film = Journey("film", "/film/{film_id}")

    @film.part(cache=Cache("60s", keys=["film:{id}"]))
    async def details(film_id): ...

    with pytest.raises(StackError, match=r"names 'id', which the part isn't kept by; .*; here: film_id"):
        film.shape()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"deadline": "soon"}, "is not a duration"),
        ({"retries": 99}, "0 to 10"),
        ({"bulkhead": 0}, "at least 1"),
        ({"cache": "1 fortnight"}, "is not a duration"),
    ],
)
def test_a_wrong_word_of_a_part_is_told_with_its_place(words: dict[str, object], message: str) -> None:
    film = Journey("film", "/film")
    with pytest.raises(StackError, match=message) as error:

        @film.part(**words)
        async def details(): ...

    assert "part 'details'" in str(error.value)
    assert "test_schedule.py:" in str(error.value)


@pytest.mark.parametrize("path", ["film", "/film/{id", "/{a}/{a}", "/a//b", "/film?x=1"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(StackError, match="path"):
        Journey("film", path)


def test_doubles_are_refused() -> None:
    film = Journey("film", "/film")

    @film.part
    async def details(): ...

    with pytest.raises(StackError, match="exists already"):

        @film.part(name="details")
        async def other(): ...

    @film.view("mobile")
    def mobile(details): ...

    with pytest.raises(StackError, match="has a view"):

        @film.view("mobile")
        def mobile_too(details): ...

    same = Journey("other", "/film")
    same.part(details)
    with pytest.raises(StackError, match="both answer GET /film"):
        build([film, same])


def test_a_view_for_an_unknown_client_is_told() -> None:
    film = Journey("film", "/film")

    @film.part
    async def details(): ...

    @film.view("fridge")
    def fridge(details): ...

    with pytest.raises(StackError, match="'fridge'; the clients are: web, mobile"):
        build([film], clients=["web", "mobile"])


def test_constraints_hold_for_parameters() -> None:
    search = Journey("search", "/search")

    @search.part
    async def found(
        q: str, limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10, tags: list[str] | None = None
    ):
        return [q, limit, tags]

    assert search.shape().inputs["limit"].default == 10


def test_a_type_that_cannot_be_found_is_told_where_it_matters() -> None:
    class Local:
        pass

    film = Journey("film", "/film/{film_id}")

    @film.part
    async def details(film_id: Local): ...

    with pytest.raises(StackError, match="type 'Local' of 'film_id' can't be found"):
        film.shape()


def test_a_name_for_type_checkers_only_does_not_hide_the_other_types() -> None:
    film = Journey("film", "/film/{film_id}")
    names: dict[str, object] = {"film": film, "Annotated": Annotated, "msgspec": msgspec}
    # A module as its owner writes it, without `from __future__ import annotations` where Python does without.
    head = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"
    source = head + (
        "@film.part\n"
        "async def details(film_id: Annotated[int, msgspec.Meta(ge=1)], catalog: OnlyForCheckers) -> dict: ...\n"
        "@film.view('web')\n"
        "def page(details: dict, catalog: OnlyForCheckers) -> OnlyForCheckers: ...\n"
    )
    exec(compile(source, __file__, "exec", dont_inherit=True), names)
    shape = film.shape({"catalog"})
    assert shape.inputs["film_id"].type == Annotated[int, msgspec.Meta(ge=1)]
    assert shape.functions["details"].returns is dict
    assert shape.services == ("catalog",)
