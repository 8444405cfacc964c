"""The schedule of a journey, worked out once: names to parts, inputs and services; then who waits for whom.

Journey ──resolve──▶ Shape ──plan(client)──▶ Plan: nodes with the slots that they read and write
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from tierline.errors import choices, nearest
from tierline.journeys.inputs import (
    BUILTINS,
    NOTHING,
    PERSONAL,
    Parameter,
    Unresolved,
    compatible,
    convertible,
    parameters,
    spoken,
    type_hints,
)
from tierline.journeys.journey import Journey, Part, Place, View

Source = Literal["part", "path", "query", "builtin", "service"]


@dataclass(slots=True)
class Input:
    """A value that the schedule starts from: a path or query value, a builtin or a service."""

    name: str
    source: Source
    type: Any = Any
    default: Any = NOTHING
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A part or view with its parameters resolved."""

    name: str
    place: Place
    parameters: tuple[Parameter, ...]
    returns: Any


@dataclass(slots=True)
class Shape:
    """A journey whose every name is known."""

    journey: Journey
    inputs: dict[str, Input]
    functions: dict[str, Function]
    views: list[tuple[View, Function]]
    services: tuple[str, ...]
    order: tuple[str, ...]
    """The parts so that each comes after what it needs."""

    def needed(self, names: Iterable[str]) -> set[str]:
        """Everything that these names need: parts and inputs, themselves included."""
        found: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                if name in self.functions:
                    stack.extend(p.name for p in self.functions[name].parameters[self.skips(name) :])
        return found

    def skips(self, name: str) -> int:
        """A look-up's first parameter is its keys, which nobody provides."""
        return 1 if self.journey.parts[name].batch else 0

    def default_parts(self) -> list[str]:
        """What an answer without a view shows."""
        return [name for name, part in self.journey.parts.items() if not part.policy.hidden]


def resolve(journey: Journey, services: set[str] | None) -> Shape:
    """Every name of the journey resolved, or StackError with file and line."""
    if not journey.parts:
        raise journey.wrong(journey.place, "it has no parts; add one with @journey.part")
    functions: dict[str, Function] = {}
    for name, part in journey.parts.items():
        functions[name] = _read(journey, f"part {name!r}", name, part.function, part.place)
        if part.batch and not functions[name].parameters:
            raise journey.wrong(part.place, f"batch {name!r} needs a first parameter: the list of keys")
    views = [
        (view, _read(journey, f"view {view.name!r}", view.name, view.function, view.place))
        for view in journey.views
    ]
    inputs: dict[str, Input] = {
        name: Input(name, "path", str, place=journey.place) for name in journey.path_names
    }
    typed: set[str] = set()
    used: set[str] = set()
    # Annotated parameters first: what one part says about a value holds for the others too.
    every = [
        (f"part {name!r}", function.place, parameter, False)
        for name, function in functions.items()
        for parameter in function.parameters[1 if journey.parts[name].batch else 0 :]
    ] + [
        (f"view {view.name!r}", function.place, parameter, True)
        for view, function in views
        for parameter in function.parameters
    ]
    for what, place, parameter, in_view in sorted(every, key=lambda entry: entry[2].type is Any):
        name = parameter.name
        if isinstance(parameter.type, Unresolved):
            before = inputs.get(name)
            value = before is not None and before.source in ("path", "query")
            if value or name == "body" or parameter.default is not NOTHING:
                raise journey.wrong(
                    place,
                    f"{what}: the type {parameter.type.text!r} of {name!r} can't be found; "
                    "it has to be a name of the module, and not only for a type checker",
                )
            parameter = replace(parameter, type=Any)
        if name in functions:
            _match(journey, what, place, parameter, functions[name])
        elif name in inputs and inputs[name].source in ("path", "query"):
            _join(journey, what, place, parameter, inputs[name], typed)
        elif name in BUILTINS:
            found = inputs.setdefault(name, Input(name, "builtin", Any, place=place))
            if parameter.type is not Any:
                found.type = parameter.type
        elif in_view and name == "degraded":
            continue
        elif services is not None and name in services:
            inputs.setdefault(name, Input(name, "service", place=place))
            used.add(name)
        elif _is_query(parameter):
            inputs[name] = Input(name, "query", parameter.type, parameter.default, place)
            if parameter.type is not Any:
                typed.add(name)
        elif services is None:
            inputs.setdefault(name, Input(name, "service", place=place))
            used.add(name)
        else:
            known = {*functions, *journey.path_names, *BUILTINS, *services}
            raise journey.wrong(
                place,
                f"{what} needs {name!r}, which is no part, path value or service{nearest(name, known)} "
                f"there are: {choices(known)}; for a query value give it a type or a default",
            )
    order = _order(journey, functions)
    shape = Shape(journey, inputs, functions, views, tuple(sorted(used)), order)
    _check_caches(shape)
    return shape


def _read(journey: Journey, what: str, name: str, function: Callable[..., Any], place: Place) -> Function:
    found = tuple(parameters(journey, what, function, place))
    returns = type_hints(function).get("return", Any)
    return Function(name, place, found, Any if isinstance(returns, Unresolved) else returns)


def _is_query(parameter: Parameter) -> bool:
    if parameter.default is not NOTHING:
        return convertible(parameter.type)
    return parameter.type is not Any and convertible(parameter.type)


def _match(journey: Journey, what: str, place: Place, parameter: Parameter, made: Function) -> None:
    part = journey.parts[made.name]
    if part.batch:
        return
    if not compatible(made.returns, parameter.type):
        raise journey.wrong(
            place,
            f"{what} wants {parameter.name!r} as {spoken(parameter.type)}, "
            f"but part {made.name!r} returns {spoken(made.returns)} ({made.place})",
        )
    if (
        part.policy.fallback is None
        and parameter.type is not Any
        and not compatible(type(None), parameter.type)
    ):
        raise journey.wrong(
            place,
            f"{what} wants {parameter.name!r} as {spoken(parameter.type)}, "
            f"but part {made.name!r} falls back to None ({made.place})",
        )


def _join(
    journey: Journey, what: str, place: Place, parameter: Parameter, known: Input, typed: set[str]
) -> None:
    if parameter.type is not Any:
        if known.name in typed and known.type != parameter.type:
            raise journey.wrong(
                place,
                f"{what} wants {known.name!r} as {spoken(parameter.type)}, "
                f"elsewhere it is {spoken(known.type)} ({known.place})",
            )
        if not convertible(parameter.type):
            raise journey.wrong(
                place,
                f"{what} wants {known.name!r} as {spoken(parameter.type)}, which no text can be turned into",
            )
        known.type, known.place = parameter.type, place
        typed.add(known.name)
    if parameter.default is not NOTHING and known.source == "query" and known.default is NOTHING:
        known.default = parameter.default


def _order(journey: Journey, functions: dict[str, Function]) -> tuple[str, ...]:
    done: list[str] = []
    seen: dict[str, bool] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if seen.get(name):
            return
        if name in seen:
            circle = " → ".join((*trail[trail.index(name) :], name))
            raise journey.wrong(functions[name].place, f"parts need each other in a circle: {circle}")
        seen[name] = False
        for parameter in functions[name].parameters[1 if journey.parts[name].batch else 0 :]:
            if parameter.name in functions:
                visit(parameter.name, (*trail, name))
        seen[name] = True
        done.append(name)

    for name in functions:
        visit(name, ())
    return tuple(done)


def _check_caches(shape: Shape) -> None:
    journey = shape.journey
    for name, part in journey.parts.items():
        cache = part.policy.cache or journey.cache
        if cache is None:
            continue
        needed = shape.needed([name])
        personal = sorted(needed & PERSONAL)
        if personal and part.policy.cache is not None and cache.per == "public":
            raise journey.wrong(
                part.place,
                f"part {name!r} depends on {personal[0]!r}, but its cache is public: "
                'one user would get another\'s answer; use Cache(…, per="user")',
            )
        if part.policy.cache is not None and cache.per == "user" and not personal:
            raise journey.wrong(
                part.place,
                f'part {name!r} has a cache per="user", but depends on neither session nor identity',
            )
        known = {n for n in needed if n in shape.inputs and shape.inputs[n].source in ("path", "query")}
        for key in cache.keys:
            _key_names(journey, part, key, known | ({"locale", "client", "affiliate"} & needed))


def _key_names(journey: Journey, part: Part, key: str, known: set[str]) -> None:
    for _, name, _, _ in string.Formatter().parse(key):
        if name is not None and name not in known:
            raise journey.wrong(
                part.place,
                f"part {part.name!r}, surrogate key {key!r} names {name!r}; there are: {choices(known)}",
            )
