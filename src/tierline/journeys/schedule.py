"""The schedule of a journey, worked out once: names to parts, inputs and services; then who waits for whom.

Journey ──resolve──▶ Shape ──plan(client)──▶ Plan: nodes with the slots that they read and write
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from tierline.errors import choices, nearest
from tierline.journeys.conditions import Condition, condition
from tierline.journeys.inputs import (
    NOTHING,
    PERSONAL,
    Parameter,
    Unresolved,
    compatible,
    convertible,
    marked,
    parameters,
    resembles,
    spoken,
    type_hints,
    unmarked,
)
from tierline.journeys.journey import BUILTINS, LAST, RESERVED, Journey, Place, View
from tierline.journeys.live import yielded
from tierline.journeys.markup import Slot
from tierline.journeys.policy import MISSING, Cache, Requires
from tierline.journeys.reply import is_reply, unwrapped
from tierline.journeys.typed import typed_as

Source = Literal["part", "path", "query", "builtin", "service", "dimension"]


@dataclass(slots=True)
class Input:
    """A value that the schedule starts from: a path or query value, a builtin, a dimension or a service."""

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
    compensations: dict[str, Function]
    pieces: list[tuple[View, Function]]
    """The views of deferred parts."""
    conditions: dict[str, Condition]
    """By part: what its `when=` asks for."""

    def asked(self, name: str) -> set[str]:
        """All that a part's condition is worked out of."""
        return self.needed(p.name for p in self.conditions[name].parameters)

    @property
    def absent(self) -> tuple[str, ...]:
        """Parts that may not run and whose type has no None: then the answer has no such field."""
        return tuple(
            name for name in self.conditions if not compatible(type(None), self.functions[name].returns)
        )

    @property
    def guards(self) -> tuple[str, ...]:
        """What runs before all else, in the order written."""
        return tuple(name for name, part in self.journey.parts.items() if part.kind == "guard")

    @property
    def effects(self) -> tuple[str, ...]:
        """What changes something, in the order written."""
        return tuple(name for name, part in self.journey.parts.items() if part.kind == "effect")

    @property
    def requires(self) -> dict[str, Requires]:
        """By part: what the caller's token must say. The journey's own is under ""."""
        found = {n: p.policy.requires for n, p in self.journey.parts.items() if p.policy.requires is not None}
        return {"": self.journey.requires, **found} if self.journey.requires is not None else found

    def cache(self, name: str) -> Cache | None:
        """The part's cache policy, or the journey's where the part is the same for everybody."""
        part = self.journey.parts[name]
        if part.policy.cache is not None or part.batch or part.kind != "part" or self.journey.cache is None:
            return part.policy.cache
        needed = self.needed([name])
        if needed & PERSONAL or ("request" in needed and not self.journey.cache.vary):
            return None
        return self.journey.cache

    def personal(self, names: Iterable[str]) -> bool:
        """Whether what these names make depends on who the caller is: on session or identity, on what a token must
        say, or on the request by more than fields that a cache can vary by."""
        known = set(names)
        if known & PERSONAL or self.journey.requires is not None or known & set(self.requires):
            return True
        return any(self._reads_request(name) for name in known & set(self.functions))

    def _reads_request(self, name: str) -> bool:
        cache = self.cache(name)
        reads = any(p.name == "request" for p in self.functions[name].parameters)
        return reads and not (cache is not None and cache.vary)

    def needed(self, names: Iterable[str], without: Iterable[str] = ()) -> set[str]:
        """Everything that these names need: parts and inputs, themselves included. What the parts of `without` need
        doesn't count."""
        found: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                if name in self.functions and name not in without:
                    stack.extend(p.name for p in self.functions[name].parameters[self.skips(name) :])
                    if name in self.conditions:
                        stack.extend(p.name for p in self.conditions[name].parameters)
        return found

    def skips(self, name: str) -> int:
        """A look-up's first parameter is its keys, which nobody provides."""
        return 1 if self.journey.parts[name].batch else 0

    def default_parts(self) -> list[str]:
        """What an answer without a view shows."""
        return [name for name, part in self.journey.parts.items() if not part.policy.hidden]


def resolve(journey: Journey, services: set[str] | None) -> Shape:
    """Every name of the journey resolved, or StackError with file and line."""
    from tierline.journeys.rules import check

    if not journey.parts:
        raise journey.wrong(journey.place, "it has no parts; add one with @journey.part")
    for name in sorted((services or set()) & set(journey.dimensions)):
        raise journey.wrong(journey.place, f"{name!r} is the name of both a service and a dimension")
    functions: dict[str, Function] = {}
    for name, part in journey.parts.items():
        functions[name] = _read(journey, f"part {name!r}", name, part.function, part.place)
        if part.kind != "effect" and is_reply(type_hints(part.function).get("return")):
            raise journey.wrong(
                part.place,
                f"part {name!r} returns a Reply; allowed for effects and views alone: return its body, and let "
                "@journey.effect or @journey.view choose status and header fields",
            )
        if part.batch and not functions[name].parameters:
            raise journey.wrong(part.place, f"batch {name!r} needs a first parameter: the list of keys")
    views = [
        (view, _read(journey, f"view {view.name!r}", view.name, view.function, view.place))
        for view in journey.views
    ]
    pieces = [
        (view, _read(journey, f"view {view.name!r}", view.name, view.function, view.place))
        for view in journey.pieces
    ]
    compensations = {
        name: _read(journey, f"compensation of {name!r}", name, part.function, part.place)
        for name, part in journey.compensations.items()
    }
    conditions = {n: condition(journey, p) for n, p in journey.parts.items() if p.policy.when is not None}
    inputs: dict[str, Input] = {
        name: Input(name, "path", str, place=journey.place) for name in journey.path_names
    }
    typed: set[str] = set()
    used: set[str] = set()
    # Annotated parameters first: what one part says about a value holds for the others too.
    every = (
        [
            (f"part {name!r}", function.place, parameter, False)
            for name, function in functions.items()
            for parameter in function.parameters[1 if journey.parts[name].batch else 0 :]
        ]
        + [
            (f"compensation of {name!r}", function.place, parameter, False)
            for name, function in compensations.items()
            for parameter in function.parameters
        ]
        + [
            (f"when= of part {name!r}", functions[name].place, parameter, False)
            for name, asks in conditions.items()
            for parameter in asks.parameters
        ]
        + [
            (f"view {view.name!r}", function.place, parameter, True)
            for view, function in [*views, *pieces]
            for parameter in function.parameters
            if not _is_slot(journey, view, parameter)
        ]
    )
    queries = {parameter.name for _, _, parameter, in_view in every if marked(parameter.type) and not in_view}
    # Views declare nothing, so they come last.
    for what, place, parameter, in_view in sorted(every, key=lambda e: (e[3], e[2].type is Any)):
        name = parameter.name
        is_query = marked(parameter.type)
        if is_query:
            taken = {
                **dict.fromkeys(journey.path_names, "a value in the path"), **dict.fromkeys(functions, "a part"),
                **dict.fromkeys(journey.dimensions, "a dimension"), **RESERVED,
            }  # fmt: skip
            if there := taken.get(name):
                raise journey.wrong(
                    place, f"{what} wants the query value {name!r}, but that is the name of {there}"
                )
            parameter = replace(parameter, type=unmarked(parameter.type))
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
        elif name in journey.dimensions:
            kind = journey.dimensions[name].type
            if not compatible(kind, parameter.type):
                raise journey.wrong(
                    place,
                    f"{what} wants {name!r} as {spoken(parameter.type)}, the dimension is {spoken(kind)}",
                )
            inputs.setdefault(name, Input(name, "dimension", kind, place=place))
        elif name in BUILTINS:
            found = inputs.setdefault(name, Input(name, "builtin", Any, place=place))
            if parameter.type is not Any:
                found.type = parameter.type
        elif in_view and name == "degraded":
            continue
        elif name in RESERVED and name not in BUILTINS:
            raise journey.wrong(place, f"{what} wants {name!r}, which is the name of {RESERVED[name]}")
        elif not is_query and name not in queries and services is not None and name in services:
            found = inputs.setdefault(name, Input(name, "service", place=place))
            typed_as(journey, what, place, parameter.type, found)
            used.add(name)
        elif is_query and not convertible(parameter.type):
            raise journey.wrong(
                place, f"{what} wants {name!r} as {spoken(parameter.type)}, which no text can be turned into"
            )
        elif is_query or _is_query(parameter):
            if in_view and journey.complete:
                raise journey.wrong(
                    place,
                    f"{what} needs {name!r}, which is no part of {journey.name!r}"
                    f"{nearest(name, {*functions, *inputs})} available: {choices({*functions, *inputs, *BUILTINS})}; "
                    "a view takes only query values that a part has declared",
                )
            known = {
                *functions,
                *journey.path_names,
                *journey.dimensions,
                *BUILTINS,
                *(services or ()),
                *used,
            }
            if name not in queries and (near := resembles(name, known)):
                raise journey.wrong(
                    place,
                    f"{what} needs {name!r}; did you mean {near!r}? "
                    f"For a query value of that name write {name}: Query[{spoken(parameter.type)}]",
                )
            inputs[name] = Input(name, "query", parameter.type, parameter.default, place)
            if parameter.type is not Any:
                typed.add(name)
        elif services is None:
            found = inputs.setdefault(name, Input(name, "service", place=place))
            typed_as(journey, what, place, parameter.type, found)
            used.add(name)
        else:
            known = {*functions, *journey.path_names, *journey.dimensions, *BUILTINS, *services}
            raise journey.wrong(
                place,
                f"{what} needs {name!r}, which is no part, path value or service{nearest(name, known)} "
                f"there are: {choices(known)}; {_no_query(parameter)}",
            )
    for name, asks in conditions.items():
        for parameter in asks.parameters:
            if parameter.name in used or (
                parameter.name in functions and journey.parts[parameter.name].batch
            ):
                raise journey.wrong(
                    functions[name].place,
                    f"when= of part {name!r} names {parameter.name!r}, which would have to be called; it may name inputs, "
                    "dimensions and parts",
                )
    order = _order(journey, functions, conditions)
    shape = Shape(
        journey, inputs, functions, views, tuple(sorted(used)), order, compensations, pieces, conditions
    )
    check(shape)
    return shape


def _no_query(parameter: Parameter) -> str:
    if parameter.type is Any:
        return "for a query value give it a type or a default"
    return (
        f"it is no query value either: no text can be turned into {spoken(parameter.type)}; what comes as JSON is the body, "
        f"body: {spoken(parameter.type)}"
    )


def _read(journey: Journey, what: str, name: str, function: Callable[..., Any], place: Place) -> Function:
    found = tuple(parameters(journey, what, function, place))
    returns = type_hints(function).get("return", Any)
    if inspect.isasyncgenfunction(function):
        found, returns = tuple(p for p in found if p.name != LAST), yielded(returns)
    return Function(name, place, found, Any if isinstance(returns, Unresolved) else unwrapped(returns))


def _is_slot(journey: Journey, view: View, parameter: Parameter) -> bool:
    """A deferred part has no value yet when a page's first screen is made: that has a slot for it."""
    part = journey.parts.get(parameter.name)
    if part is None or not part.policy.defer or view.of or view.media != "text/html":
        return False
    if parameter.type not in (Any, Slot):
        raise journey.wrong(
            view.place,
            f"view {view.name!r} wants the deferred part {parameter.name!r} as {spoken(parameter.type)}; a page's first screen "
            f"has a slot for it, {parameter.name}: Slot",
        )
    return True


def _is_query(parameter: Parameter) -> bool:
    if parameter.default is not NOTHING:
        return convertible(parameter.type)
    return parameter.type is not Any and convertible(parameter.type)


def _match(journey: Journey, what: str, place: Place, parameter: Parameter, made: Function) -> None:
    part = journey.parts[made.name]
    if part.batch or what.startswith("when="):
        return
    if part.policy.when is not None and not (parameter.annotated and _nullable(parameter.type)):
        said = f"as {spoken(parameter.type)}" if parameter.annotated else "without a type"
        raise journey.wrong(
            place,
            f"{what} wants {parameter.name!r} {said}, but part {made.name!r} may not run, and is None then; write "
            f"{parameter.name}: {'…' if made.returns is Any else spoken(made.returns)} | None ({made.place})",
        )
    if not compatible(made.returns, parameter.type):
        raise journey.wrong(
            place,
            f"{what} wants {parameter.name!r} as {spoken(parameter.type)}, "
            f"but part {made.name!r} returns {spoken(made.returns)} ({made.place})",
        )
    # A condition is mostly a lambda, whose parameters can't be annotated.
    asks = what.startswith("when=")
    if not (asks or parameter.annotated) and part.policy.fallback is not MISSING and journey.complete:
        none = " | None" if part.policy.fallback is None and not _nullable(made.returns) else ""
        kind = "its type" if made.returns is Any else f"{spoken(made.returns)}{none}"
        raise journey.wrong(
            place,
            f"{what} takes {parameter.name!r}, which has a fallback, without saying what it takes; "
            f"write {parameter.name}: {kind} ({made.place})",
        )
    if part.policy.fallback is None and parameter.type is not Any and not _nullable(parameter.type):
        raise journey.wrong(
            place,
            f"{what} wants {parameter.name!r} as {spoken(parameter.type)}, "
            f"but part {made.name!r} falls back to None; write {parameter.name}: {spoken(parameter.type)} | None "
            f"({made.place})",
        )


def _nullable(kind: Any) -> bool:
    return compatible(type(None), kind)


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


def _order(
    journey: Journey, functions: dict[str, Function], conditions: dict[str, Condition]
) -> tuple[str, ...]:
    done: list[str] = []
    seen: dict[str, bool] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if seen.get(name):
            return
        if name in seen:
            circle = " → ".join((*trail[trail.index(name) :], name))
            raise journey.wrong(functions[name].place, f"parts need each other in a circle: {circle}")
        seen[name] = False
        asks = conditions[name].parameters if name in conditions else ()
        for parameter in (*functions[name].parameters[1 if journey.parts[name].batch else 0 :], *asks):
            if parameter.name in functions:
                visit(parameter.name, (*trail, name))
        seen[name] = True
        done.append(name)

    for name in functions:
        visit(name, ())
    return tuple(done)
