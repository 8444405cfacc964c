"""Whether what a part keeps may be given to whom it is given: checked when a journey is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierline.errors import choices
from tierline.journeys.inputs import PERSONAL
from tierline.journeys.journey import Journey, Part
from tierline.journeys.policy import Cache
from tierline.journeys.tags import OWN, names_in

if TYPE_CHECKING:
    from tierline.journeys.schedule import Shape


def check_caches(shape: Shape) -> None:
    journey = shape.journey
    for name, part in journey.parts.items():
        cache = shape.cache(name)
        if cache is None:
            continue
        needed = shape.needed([name])
        personal = sorted(needed & PERSONAL)
        if personal and cache.per == "public":
            raise journey.wrong(
                part.place,
                f"part {name!r} depends on {personal[0]!r}, but its cache is public: "
                'one user would get another\'s answer; use Cache(…, per="user")',
            )
        if cache.per == "user" and not personal:
            raise journey.wrong(
                part.place,
                f'part {name!r} has a cache per="user", but depends on neither session nor identity',
            )
        if "request" in needed:
            _check_request(shape, name, part, cache)
        elif cache is part.policy.cache and cache.vary:
            raise journey.wrong(
                part.place,
                f"part {name!r} has Cache(vary=…), but neither it nor what it needs reads `request`",
            )
        if "body" in needed and "GET" in journey.methods:
            raise journey.wrong(part.place, f"part {name!r} is cached, but depends on the request's body")
        known = {n for n in needed if n in shape.inputs and shape.inputs[n].source in ("path", "query")}
        known |= {"locale", "client", "affiliate", *journey.dimensions} & needed
        if cache.per == "user":
            known |= set(OWN) & needed
        for key in cache.keys:
            _key_names(journey, part, key, known)


def _check_request(shape: Shape, name: str, part: Part, cache: Cache) -> None:
    """A cached part says which fields of the request it reads; what it needs reads none besides."""
    journey = shape.journey
    if not cache.vary:
        raise journey.wrong(
            part.place,
            f"part {name!r} is cached and reads `request`, so one caller would get what was made for another; say which "
            'header fields it reads, Cache(…, vary=["accept-language"]), or name path and query values instead',
        )
    own = {p.name for p in shape.functions[name].parameters}
    for other in shape.needed([name]) & set(shape.functions) - {name}:
        if "request" in {p.name for p in shape.functions[other].parameters}:
            there = shape.cache(other)
            if there is None or not set(there.vary) <= set(cache.vary):
                raise journey.wrong(
                    part.place,
                    f"part {name!r} is cached and needs {other!r}, which reads `request`; "
                    f"give {other!r} a cache too, with the same vary={list(cache.vary)}",
                )
    if "request" not in own and not shape.needed([name]) & set(shape.functions) - {name}:
        raise journey.wrong(part.place, f"part {name!r} has Cache(vary=…) but does not read `request`")


def _key_names(journey: Journey, part: Part, key: str, known: set[str]) -> None:
    try:
        unknown = set(names_in(key)) - known
    except ValueError as error:
        raise journey.wrong(part.place, f"part {part.name!r}, key {key!r}: {error}") from None
    for name in sorted(unknown):
        raise journey.wrong(
            part.place,
            f"part {part.name!r}, key {key!r} names {name!r}, which the part isn't kept by; it may name the path and query "
            'values, dimensions, locale, client and affiliate that the part needs, and with per="user" its identity '
            f'and session, "…:{{identity[sub]}}"; here: {choices(known)}',
        )


def check_tags(shape: Shape) -> None:
    """Effects drop what can be named, and entities are of nobody in particular."""
    journey = shape.journey
    for name, part in journey.parts.items():
        given = {p.name for p in shape.functions[name].parameters[shape.skips(name) :]}
        for tag in part.policy.drops:
            try:
                unknown = set(names_in(tag)) - given
            except ValueError as error:
                raise journey.wrong(part.place, f"effect {name!r}, drops: {tag!r}: {error}") from None
            if unknown:
                raise journey.wrong(
                    part.place,
                    f"effect {name!r}, drops: {tag!r} names {sorted(unknown)[0]!r}; it may name what the effect does: "
                    f"{choices(given)}",
                )
        if part.entities is not None and part.batch:
            allowed = {n for n, i in shape.inputs.items() if i.source in ("service", "dimension")}
            for other in sorted(given - allowed - {"locale"}):
                raise journey.wrong(
                    part.place,
                    f"entities {name!r} names {other!r}; shared by all, it may name its keys, services and dimensions",
                )
