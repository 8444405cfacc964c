"""What a part may say about itself: how long it may take, how its answer is cached, how many may run."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tierline.errors import StackError

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)")
FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
CREDENTIALS: Final = frozenset({"authorization", "cookie", "x-tierline-claims", "x-session"})


def seconds(duration: str | float, field_name: str = "duration") -> float:
    """`"100ms"`, `"1.5s"`, `"5m"`, or a number of seconds."""
    if isinstance(duration, (int, float)) and not isinstance(duration, bool):
        if 0 <= duration < math.inf:
            return float(duration)
    elif isinstance(duration, str) and (match := _DURATION.fullmatch(duration.strip())):
        return float(match[1]) * _UNITS[match[2]]
    raise StackError(
        f"{field_name}: {duration!r} is not a duration; "
        'allowed: a number of seconds or text such as "100ms", "2s", "5m"'
    )


def bound(duration: str | float, field_name: str) -> float:
    """A duration within which something has to be done: more than none."""
    found = seconds(duration, field_name)
    if not found:
        raise StackError(
            f'{field_name}: {duration!r} leaves no time; allowed: more than 0, such as "100ms", "2s", "5m"'
        )
    return found


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
    keys: surrogate keys of the answer, with the part's own inputs in braces: `"film:{film_id}"`. With per="user"
        also `"record:{identity[sub]}"`, which is for `drops=` alone.
    vary: names of the request header fields that the part reads from `request`. They are part of the key and of
    the answer's `Vary`; a cached part can read no others.
    store: False only sets the header fields for the caches in front, and keeps nothing here.
    """

    max_age: float
    stale: float
    stale_if_error: float
    per: Literal["public", "user"]
    keys: tuple[str, ...]
    vary: tuple[str, ...]
    store: bool

    def __init__(
        self,
        max_age: str | float,
        *,
        stale: str | float = 0,
        stale_if_error: str | float = 0,
        per: Literal["public", "user"] = "public",
        keys: Iterable[str] = (),
        vary: Iterable[str] = (),
        store: bool = True,
    ) -> None:
        if per not in ("public", "user"):
            raise StackError(f"Cache.per: {per!r} is not allowed; allowed: public, user")
        if isinstance(keys, str):
            raise StackError(f"Cache.keys: {keys!r} is one text; give a list: keys=[{keys!r}]")
        if isinstance(vary, str):
            raise StackError(f"Cache.vary: {vary!r} is one text; give a list: vary=[{vary!r}]")
        named = tuple(dict.fromkeys(str(header).lower() for header in vary))
        for header in named:
            if header in CREDENTIALS:
                raise StackError(
                    f"Cache.vary: {header!r} says who the caller is; depend on identity or session instead, "
                    'and use Cache(…, per="user")'
                )
            if not FIELD_NAME.fullmatch(header):
                raise StackError(f"Cache.vary: {header!r} is not the name of a header field")
        put = object.__setattr__
        put(self, "max_age", seconds(max_age, "Cache.max_age"))
        put(self, "stale", seconds(stale, "Cache.stale"))
        put(self, "stale_if_error", seconds(stale_if_error, "Cache.stale_if_error"))
        put(self, "per", per)
        put(self, "keys", tuple(keys))
        put(self, "vary", named)
        put(self, "store", store)


@dataclass(frozen=True, slots=True, init=False)
class Requires:
    """What a caller's verified token must say.

    True: any verified token. A name or a list of names: scopes, as in the claims `scope` (RFC 8693, separated by
    blanks) or `scp`. A mapping: claims and their values; a claim that is a list must contain the value.
    """

    scopes: frozenset[str]
    claims: tuple[tuple[str, Any], ...]

    def __init__(self, what: bool | str | Iterable[str] | Mapping[str, Any]) -> None:
        scopes: Iterable[str] = ()
        claims: Mapping[str, Any] = {}
        if isinstance(what, str):
            scopes = (what,)
        elif isinstance(what, Mapping):
            claims = what
        elif what is not True and not isinstance(what, bool | int | float | None):
            scopes = tuple(what)
        elif what is not True:
            raise StackError(
                f"requires: {what!r} is not allowed; allowed: True (any verified token), a scope, a list of scopes, "
                'or claims such as {"role": "admin"}'
            )
        if what is not True and not scopes and not claims:
            raise StackError(
                f"requires: {what!r} names nothing, so that any token would do; allowed: True (any verified token), a scope, "
                'a list of scopes, or claims such as {"role": "admin"}'
            )
        for name, value in claims.items():
            if value is None:
                # A token that says nothing of it would hold it.
                raise StackError(
                    f"requires: the claim {name!r} can't be None; allowed: the value that a token must carry"
                )
        for scope in scopes:
            if not isinstance(scope, str) or not scope or set(scope) & set(' "\\'):
                raise StackError(f"requires: {scope!r} is not a scope (RFC 6749, section 3.3)")
        object.__setattr__(self, "scopes", frozenset(scopes))
        object.__setattr__(self, "claims", tuple(claims.items()))

    def __str__(self) -> str:
        words = sorted(self.scopes) + [f"{name}={value}" for name, value in self.claims]
        return ", ".join(words) or "a verified token"

    def met(self, identity: Mapping[str, Any] | None) -> bool:
        """Whether the claims of a verified token hold all that is required. Nobody's token: no."""
        if identity is None:
            return False
        if self.scopes:
            held: set[str] = set()
            for claim in ("scope", "scp"):
                value = identity.get(claim)
                if isinstance(value, str):
                    held.update(value.split(" "))
                elif isinstance(value, list):
                    held.update(each for each in value if isinstance(each, str))
            if not self.scopes <= held:
                return False
        return all(_holds(identity.get(name), value) for name, value in self.claims)


def _holds(held: Any, wanted: Any) -> bool:
    """`1` is not `True`, and a list holds each of its items."""
    if isinstance(held, list) and not isinstance(wanted, list):
        return any(_holds(each, wanted) for each in held)
    return type(held) is type(wanted) and held == wanted


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
    requires: Requires | None = None
    forward_errors: tuple[int, ...] = ()
    when: Callable[..., Any] | str | None = None
    defer: bool = False
    """Sent after the first screen."""
    drops: tuple[str, ...] = ()
    """Tags that an effect makes old."""

    @property
    def plain(self) -> bool:
        """Nothing but a cache stands between the schedule and the function."""
        return not (self.retries or self.hedge is not None or self.bulkhead or self.forward_errors)

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
    requires: Any = None,
    forward_errors: Iterable[int] = (),
    when: Callable[..., Any] | str | None = None,
    drops: Iterable[Any] = (),
    defer: bool = False,
) -> Policy:
    """The words of a part, checked."""
    statuses = (forward_errors,) if isinstance(forward_errors, int) else tuple(forward_errors)
    for status in statuses:
        if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status < 500:
            raise StackError(f"forward_errors: {status!r} is not allowed; allowed: statuses from 400 to 499")
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 10:
        raise StackError(f"retries: {retries!r} is not allowed; allowed: 0 to 10")
    return Policy(
        deadline=None if deadline is None else bound(deadline, "deadline"),
        retries=retries,
        hedge=None if hedge is None else seconds(hedge, "hedge"),
        fallback=fallback,
        cache=Cache(cache) if isinstance(cache, (str, int, float)) else cache,
        bulkhead=Bulkhead(bulkhead) if isinstance(bulkhead, int) else bulkhead,
        hidden=hidden,
        requires=None if requires is None else Requires(requires),
        forward_errors=statuses,
        when=when,
        drops=_tags(drops),
        defer=defer,
    )


def _tags(drops: Iterable[Any]) -> tuple[str, ...]:
    if isinstance(drops, str):
        raise StackError(f"drops: {drops!r} is one text; give a list: drops=[{drops!r}]")
    found = tuple(each if isinstance(each, str) else getattr(each, "name", None) for each in drops)
    if not all(isinstance(each, str) and each for each in found):
        raise StackError("drops: allowed: Entities, and tags as text")
    return found  # type: ignore[return-value]
