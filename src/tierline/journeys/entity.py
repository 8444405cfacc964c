"""Entities: things by key, kept for all journeys of an application, many keys fetched by one call. Inert: see kept.py."""

from __future__ import annotations

import secrets
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tierline.errors import StackError
from tierline.journeys.inputs import type_hints
from tierline.journeys.journey import Journey, Part, place_of
from tierline.journeys.policy import Cache, Policy, bound, seconds


class Entities:
    """Things by key, of a function from a list of keys to a mapping, or to a sequence in the order of the keys. Made by
    `@entities("5m")`; journeys have it in `Journey(uses=[products])`.

    Parts that name it get a function of one key, `await products(7)`, with `many(keys)` and `drop(*keys)`.
    """

    def __init__(
        self, function: Callable[..., Any], ttl: str | float, most: int, deadline: str | float | None
    ) -> None:
        self.name = getattr(function, "__name__", "")
        self.function = function
        self.place = place_of(function)
        where = f"entities {self.name!r} ({self.place})"
        self.ttl = seconds(ttl, f"{where}, ttl")
        self.deadline = None if deadline is None else bound(deadline, f"{where}, deadline")
        self.most = most
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise StackError(f"{where}, most: {most!r} is not allowed; allowed: 1 and more")
        self._local = secrets.token_hex(8)
        returns = type_hints(function).get("return", Any)
        origin, inner = typing.get_origin(returns), typing.get_args(returns)
        is_map = isinstance(origin, type) and issubclass(origin, Mapping)
        self.kind: Any = inner[-1] if inner and (is_map or (origin or returns) in (list, Sequence)) else Any

    def __repr__(self) -> str:
        return f"Entities({self.name!r})"

    @property
    def identity(self) -> str:
        """What its values are kept under: its own name, where a module has it by that name."""
        found: Any = sys.modules.get(self.function.__module__)
        for piece in self.function.__qualname__.split("."):
            found = getattr(found, piece, None)
        named = found is self
        return f"{self.function.__module__}.{self.function.__qualname__}" if named else self._local

    def tags(self, key: Any) -> tuple[str, str]:
        """What makes a value old: its own tag, and that of all."""
        return f"{self.name}:{key}", self.name

    def joins(self, journey: Journey) -> None:
        """What `Journey(uses=…)` calls."""
        policy = Policy(deadline=self.deadline, hidden=True, cache=Cache(self.ttl, store=False))
        journey.add(Part(self.name, self.function, policy, self.place, self.most, entities=self))


def entities(
    ttl: str | float, *, most: int = 100, deadline: str | float | None = None
) -> Callable[[Callable[..., Any]], Entities]:
    """Declares Entities: `@entities("5m")` above `async def products(ids: list[int], catalog) -> dict[int, Product]`.

    ttl: how long a value is used. most: keys of one call. deadline: what a call may take.
    The function's first parameter is the list of keys; besides it names services, and dimensions whose values are kept
    apart, as are callers where a service is called with fields of theirs (`forward=`). A key that its answer lacks is
    asked for again the next time.
    Its values are dropped by `@journey.effect(drops=["products:{product_id}"])`, or `drops=[products]` for all of them.
    """
    return lambda function: Entities(function, ttl, most, deadline)
