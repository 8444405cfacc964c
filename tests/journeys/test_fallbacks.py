"""Fallbacks fit what their parts return, and who takes them knows it: else the journey can't be built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, TypedDict

import msgspec
import pytest

from tierline.errors import StackError
from tierline.journeys import Journey


class Film(msgspec.Struct):
    id: int
    title: str = "?"


class Card(TypedDict):
    id: int
    tags: list[str]


@dataclass
class Price:
    amount: Decimal


async def later() -> list[int]:
    return []


def numbers() -> list[int]:
    return []


def maybe() -> list[int] | None:
    return None


class Service:
    def fallen(self) -> dict[str, int]:
        return {}


def with_fallback(returns: Any, fallback: Any) -> Journey:
    film = Journey("film", "/film")

    async def part(): ...

    part.__annotations__ = {"return": returns}
    film.part(name="part", fallback=fallback)(part)
    return film


Positive = Annotated[int, msgspec.Meta(ge=1)]


@pytest.mark.parametrize(
    ("returns", "fallback", "why"),
    [
        (dict[str, Any], [], "Expected `dict.*, got `list`"),
        (list[int], "", "got `str`"),
        (list[int], ["a"], r"Expected `int`, got `str` - at `\$\[0\]`"),
        (int, False, "Expected `int`, got `bool`"),
        (str, 0, "got `int`"),
        (Film, {"id": 1}, "got `dict`"),
        (list[Film], [{"title": "?"}], r"missing required field `id` - at `\$\[0\]`"),
        (Card, {"id": 1}, "missing required field `tags`"),
        (Card, {"id": 1, "tags": [1]}, r"at `\$.tags\[0\]`"),
        (Price, {"amount": 1}, "got `dict`"),
        (Price, Price("free"), r"\$.amount"),
        (Decimal, "1.20", "got `str`"),
        (Positive, 0, ">= 1"),
        (list[int], dict, "it makes dict"),
        (dict[str, int], numbers, "it makes list"),
        (list[int], maybe, "it makes list"),
        (list[int], later, "it is async"),
        (list[int], Service().fallen, "it makes dict"),
    ],
)
def test_a_fallback_of_another_type_is_an_error_when_built(returns: Any, fallback: Any, why: str) -> None:
    with pytest.raises(StackError, match=why) as error:
        with_fallback(returns, fallback).shape()
    assert "part 'part' returns" in str(error.value) and "test_fallbacks.py:" in str(error.value)


@pytest.mark.parametrize(
    ("returns", "fallback"),
    [
        (dict[str, Any], {}),
        (list[int], []),
        (list[int], list),
        (list[int], numbers),
        (list[int], lambda: []),
        (list[int] | None, maybe),
        (float, 0),
        (Film, Film(0)),
        (Film, None),
        (Film | None, None),
        (Card, {"id": 1, "tags": []}),
        (Price, Price(Decimal(0))),
        (tuple[int, ...], ()),
        (set[int], set()),
        (Any, "anything"),
        (object, 5),
        (Service, Service()),
    ],
)
def test_a_fallback_that_fits_is_none(returns: Any, fallback: Any) -> None:
    with_fallback(returns, fallback).shape()


def take(film: Journey, function: Callable[..., Any], view: bool) -> None:
    film.view("mobile")(function) if view else film.part(name="taker")(function)


@pytest.mark.parametrize("view", [True, False])
@pytest.mark.parametrize(
    ("returns", "fallback", "write"),
    [
        (list[int], [], r"write part: list\[int\] \("),
        (Film, None, r"write part: Film \| None"),
        (Film | None, None, r"write part: Film \| None \("),
        (Any, [], "write part: its type"),
    ],
)
def test_what_takes_a_part_with_a_fallback_says_what_it_takes(
    returns: Any, fallback: Any, write: str, view: bool
) -> None:
    film = with_fallback(returns, fallback)

    def taker(part):
        return part

    take(film, taker, view)
    with pytest.raises(StackError, match=write):
        film.shape()


@pytest.mark.parametrize("view", [True, False])
def test_what_takes_a_fallback_of_none_takes_none(view: bool) -> None:
    film = with_fallback(Film, None)

    def taker(part: Film) -> int:
        return part.id

    take(film, taker, view)
    with pytest.raises(StackError, match=r"falls back to None; write part: Film \| None"):
        film.shape()
    fits = with_fallback(Film, None)

    def careful(part: Film | None) -> int:
        return part.id if part else 0

    take(fits, careful, view)
    fits.shape()


def test_any_is_an_annotation_too() -> None:
    film = with_fallback(list[int], [])

    def taker(part: Any) -> int:
        return len(part)

    take(film, taker, True)
    film.shape()


def test_a_condition_may_take_a_part_with_a_fallback() -> None:
    film = with_fallback(list[int], [])
    film.part(name="more", when=lambda part: bool(part), fallback=None)(numbers)
    film.shape()
