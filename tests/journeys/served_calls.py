"""Journeys that are busy, slow, private or that change something, for what clients do about that."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec

from tierline.journeys import Journey, JourneyError, build

COUNTS: dict[str, int] = {}


class Seat(msgspec.Struct):
    row: str
    number: int


class Order(msgspec.Struct):
    film_id: int
    seats: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1


class Placed(msgspec.Struct):
    film: int
    key: str
    times: int
    seats: list[Seat]


class Problem(msgspec.Struct):
    """A type that is called as one of the clients' own."""

    why: str


class PlacedPart(msgspec.Struct):
    """And one that is called as what is left of another."""

    of: Placed | None = None


class Call(msgspec.Struct):
    number: str


def counted(name: str) -> int:
    COUNTS[name] = COUNTS.get(name, 0) + 1
    return COUNTS[name]


def busy(name: str, times: int, after: float = 0) -> int:
    """The number of this request; the first ones are refused."""
    number = counted(name)
    if number <= times:
        raise JourneyError("busy", status=503, retry_after=after or None)
    return number


flaky = Journey("flaky", "/flaky/{name}")
limited = Journey("limited", "/limited")
private = Journey("private", "/private", requires=True)
slow = Journey("slow", "/slow")
heard = Journey("heard", "/heard")
order = Journey("order", "/order", methods=["POST"])
close = Journey("close", "/close", methods=["POST", "DELETE"])


@flaky.part
def tries(name: str, times: int = 1, after: float = 0) -> int:
    return busy(name, times, after)


@limited.part
def never() -> Problem:
    raise JourneyError("too many", status=429, retry_after=120)


@private.part
def secret() -> Call:
    return Call("1")


@slow.part
async def late() -> str:
    await asyncio.sleep(4)  # slow: later than its deadline
    return "late"


@heard.part
def headers(request: Any, call: str = "") -> dict[str, str]:
    return {"call": call, **{name.decode(): value.decode() for name, value in request.headers.items()}}


@order.effect
def placed(body: Order, request: Any, name: str = "", times: int = 0) -> Placed:
    number = busy(name, times) if name else 1
    return Placed(body.film_id, request.header("idempotency-key"), number, [Seat("A", 1)] * body.seats)


@order.part(fallback=None)
def advice(placed: Placed) -> list[Seat]:
    raise TimeoutError


@close.part
def closed() -> bool:
    return True


@close.part
def rest() -> PlacedPart:
    return PlacedPart()


JOURNEYS = [flaky, limited, private, slow, heard, order, close]
app = build(JOURNEYS)
