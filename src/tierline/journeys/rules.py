"""What must hold of a journey whose names are resolved: caches, stages, fallbacks. Errors with file and line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tierline.errors import choices
from tierline.journeys.annotations import waits
from tierline.journeys.checks import mismatch
from tierline.journeys.inputs import Unresolved, compatible, spoken, type_hints
from tierline.journeys.keeping import check_caches, check_tags
from tierline.journeys.policy import MISSING

if TYPE_CHECKING:
    from tierline.journeys.schedule import Shape


def check(shape: Shape) -> None:
    """Raises StackError for the first thing that doesn't hold."""
    check_tags(shape)
    check_caches(shape)
    _check_stages(shape)
    _check_fallbacks(shape)
    _check_deferred(shape)


def _check_stages(shape: Shape) -> None:
    """Guards come before effects, what is stored can be read back, and no part is left out everywhere."""
    journey = shape.journey
    for name, part in journey.parts.items():
        returns = shape.functions[name].returns
        cache = shape.cache(name)
        if part.kind == "effect" or (cache is not None and cache.store):
            try:
                msgspec.json.schema(returns)
            except TypeError as error:
                why = "is kept under its idempotency key" if part.kind == "effect" else "is cached"
                raise journey.wrong(
                    part.place,
                    f"what part {name!r} returns {why}, and {spoken(returns)} can't be stored: {error}",
                ) from None
    effects = set(shape.effects)
    for name in shape.guards:
        if late := shape.needed([name]) & effects:
            raise journey.wrong(
                journey.parts[name].place,
                f"guard {name!r} needs the effect {sorted(late)[0]!r}, which comes after it",
            )
    read = shape.needed([*shape.guards, *shape.effects, *shape.default_parts()])
    for functions in ([f for _, f in [*shape.views, *shape.pieces]], shape.compensations.values()):
        for function in functions:
            read |= shape.needed(p.name for p in function.parameters)
    for name, part in journey.parts.items():
        if name not in read and journey.complete and part.entities is None:
            raise journey.wrong(
                part.place,
                f"part {name!r} is hidden and nothing reads it, so it would never run; name it in a part or view, or, if "
                "it is to refuse callers, make it a guard: @journey.guard",
            )


def _check_deferred(shape: Shape) -> None:
    """Nothing of the first screen waits for what comes after it, and a page has a piece for each slot."""
    journey = shape.journey
    late = {name for name, part in journey.parts.items() if part.policy.defer}
    for name, part in journey.parts.items():
        if name not in late and (needed := sorted(shape.needed([name]) & late)):
            raise journey.wrong(
                part.place,
                f"part {name!r} needs the deferred part {needed[0]!r}; make it deferred too, or {needed[0]!r} not",
            )
    asked = {
        (view.kind, p.name)
        for view, function in shape.views
        if view.media == "text/html"
        for p in function.parameters
        if p.name in late
    }
    made = {(view.kind, view.of) for view, _ in shape.pieces}
    for view, function in shape.views:
        for p in function.parameters:
            if (view.kind, p.name) in asked - made and view.media == "text/html":
                raise journey.wrong(
                    view.place,
                    f"view {view.name!r} has a slot for the deferred part {p.name!r}, but nothing says what to put there; "
                    f"@{journey.name}.view({view.kind!r}, of={p.name!r})",
                )
    for view, _ in shape.pieces:
        if (view.kind, view.of) not in asked:
            known = [of for kind, of in asked if kind == view.kind]
            raise journey.wrong(
                view.place,
                f"view {view.name!r} is of {view.of!r}, for which no page of {view.kind!r} has a slot; there are: "
                f"{choices(known)}",
            )


def _check_fallbacks(shape: Shape) -> None:
    """A fallback is of the type that its part returns, or None."""
    journey = shape.journey
    for name, part in journey.parts.items():
        fallback, returns = part.policy.fallback, shape.functions[name].returns
        if fallback is MISSING or fallback is None or returns is Any or not journey.complete:
            continue
        if not callable(fallback):
            why = mismatch(fallback, returns)
            given = f"{fallback!r}"[:60]
        else:
            made = fallback if isinstance(fallback, type) else type_hints(fallback).get("return", Any)
            known = not isinstance(made, Unresolved)
            why = "" if not known or compatible(made, returns) else f"it makes {spoken(made)}"
            given = getattr(fallback, "__name__", repr(fallback))
            if waits(fallback):
                why = "it is async; a fallback is a value, or a plain function"
        if why:
            raise journey.wrong(
                part.place, f"part {name!r} returns {spoken(returns)}, but its fallback is {given}: {why}"
            )
