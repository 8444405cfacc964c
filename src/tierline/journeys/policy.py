"""What a part may say about itself: how long it may take, how its answer is cached, how many may run."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tierline.errors import StackError

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)")


def seconds(duration: str | float, field_name: str = "duration") -> float:
    """`"100ms"`, `"1.5s"`, `"5m"`, or a number of seconds."""
    if isinstance(duration, (int, float)) and not isinstance(duration, bool):
        if duration >= 0:
            return float(duration)
    elif isinstance(duration, str) and (match := _DURATION.fullmatch(duration.strip())):
        return float(match[1]) * _UNITS[match[2]]
    raise StackError(
        f"{field_name}: {duration!r} is not a duration; "
        'allowed: a number of seconds or text such as "100ms", "2s", "5m"'
    )


class _Missing:
    def __repr__(self) -> str:
        return "no fallback"


MISSING: Final = _Missing()
"""Stands for "no fallback": None is a fallback."""


@dataclass(frozen=True, slots=True, init=False)
class Cache:
    """How long a part's answer may be used again, by whom, and what purges it.

    max_age: fresh for this long, here and in the caches between here and the client.
    stale: after that, still answered for this long while one call refreshes it in the background.
    stale_if_error: how long an old answer stands in for a failing part.
    per: "public" is shared by all; "user" is kept per signed-in user, or per session without one.
    keys: surrogate keys of the answer, with the part's own inputs in braces: `"film:{film_id}"`.
    store: False only tells the outer caches, and keeps nothing here.
    """

    max_age: float
    stale: float
    stale_if_error: float
    per: Literal["public", "user"]
    keys: tuple[str, ...]
    store: bool

    def __init__(
        self,
        max_age: str | float,
        *,
        stale: str | float = 0,
        stale_if_error: str | float = 0,
        per: Literal["public", "user"] = "public",
        keys: Iterable[str] = (),
        store: bool = True,
    ) -> None:
        if per not in ("public", "user"):
            raise StackError(f"Cache.per: {per!r} is not allowed; allowed: public, user")
        if isinstance(keys, str):
            raise StackError(f"Cache.keys: {keys!r} is one text; give a list: keys=[{keys!r}]")
        put = object.__setattr__
        put(self, "max_age", seconds(max_age, "Cache.max_age"))
        put(self, "stale", seconds(stale, "Cache.stale"))
        put(self, "stale_if_error", seconds(stale_if_error, "Cache.stale_if_error"))
        put(self, "per", per)
        put(self, "keys", tuple(keys))
        put(self, "store", store)


@dataclass(slots=True)
class Bulkhead:
    """At most `limit` calls at once in this process; `queue` more may wait, the rest is refused at once.

    Share one Bulkhead object between parts that lean on the same weak thing.
    """

    limit: int
    queue: int = 0
    running: int = field(default=0, init=False)
    waiting: list[Any] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.limit < 1 or self.queue < 0:
            raise StackError(
                f"Bulkhead({self.limit}, queue={self.queue}): limit is at least 1, queue at least 0"
            )


@dataclass(frozen=True, slots=True)
class Policy:
    """All that `@journey.part(...)` was told, as numbers."""

    deadline: float | None = None
    retries: int = 0
    hedge: float | None = None
    fallback: Any = MISSING
    cache: Cache | None = None
    bulkhead: Bulkhead | None = None
    hidden: bool = False

    @property
    def plain(self) -> bool:
        """Nothing stands between the schedule and the function."""
        stored = self.cache is not None and self.cache.store
        return not (self.retries or self.hedge is not None or stored or self.bulkhead)

    def stand_in(self) -> Any:
        """The fallback's value, never shared between two answers."""
        value = self.fallback
        if callable(value):
            return value()
        return copy.deepcopy(value) if isinstance(value, (list, dict, set)) else value


def policy(
    *,
    deadline: str | float | None = None,
    retries: int = 0,
    hedge: str | float | None = None,
    fallback: Any | Callable[[], Any] = MISSING,
    cache: Cache | str | float | None = None,
    bulkhead: Bulkhead | int | None = None,
    hidden: bool = False,
) -> Policy:
    """The words of a part, checked."""
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 10:
        raise StackError(f"retries: {retries!r} is not allowed; allowed: 0 to 10")
    return Policy(
        deadline=None if deadline is None else seconds(deadline, "deadline"),
        retries=retries,
        hedge=None if hedge is None else seconds(hedge, "hedge"),
        fallback=fallback,
        cache=Cache(cache) if isinstance(cache, (str, int, float)) else cache,
        bulkhead=Bulkhead(bulkhead) if isinstance(bulkhead, int) else bulkhead,
        hidden=hidden,
    )
