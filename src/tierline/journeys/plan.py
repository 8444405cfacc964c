"""The plan of one kind of client: the parts that its view needs, and the slots that their values live in."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tierline.journeys.batch import lookup
from tierline.journeys.inputs import NOTHING, PERSONAL, Parameter
from tierline.journeys.journey import HTML, Journey, Part, View
from tierline.journeys.policy import Policy
from tierline.journeys.schedule import Input, Shape

Loaders = Mapping[str, tuple[Callable[..., Any], Policy]]
"""Builtins that have to be waited for, as if they were parts: a request's `session`, its `steps`."""


@dataclass(eq=False, slots=True)
class Node:
    """A part in one plan: the slots that it reads and the one that it writes."""

    name: str
    index: int
    slot: int
    part: Part
    returns: Any
    invoke: Callable[[list[Any]], Any]
    needs: tuple[str, ...]
    """Names of the parts among its parameters."""
    keyed: tuple[str, ...]
    """Names of the inputs that its value depends on, through other parts too."""
    dependants: tuple[Node, ...] = ()
    deadline: float | None = None
    bounded: bool = False
    """Has a deadline of its own, and names a service whose calls should know it."""
    plain: bool = True
    sole: int = -1
    """The slot of its only parameter, where it has no more and no policy stands before it: as most."""
    check: Any = None
    height: int = 0
    personal: bool = False


@dataclass(eq=False, slots=True)
class Plan:
    """What one kind of client's request runs."""

    journey: Journey
    shape: Shape
    view: View | None
    slots: dict[str, int]
    """Where each name's value is."""
    template: list[Any]
    nodes: tuple[Node, ...]
    roots: tuple[Node, ...]
    waiting: list[int]
    shown: tuple[str, ...]
    finish: Callable[[list[Any]], Any]
    """Slots to the body."""
    inputs: dict[str, Input]
    personal: bool
    flat: bool
    """No node needs another."""


def plan(
    shape: Shape,
    view: View | None,
    services: Mapping[str, Any],
    loaders: Loaders,
    only: Iterable[str] | None = None,
) -> Plan:
    """What a view needs, or the default answer, or only some of its parts; nothing else is run."""
    function = next((f for v, f in shape.views if v is view), None)
    if function is not None:
        shown = tuple(p.name for p in function.parameters if p.name in shape.functions)
        wanted = [p.name for p in function.parameters]
    else:
        shown = tuple(only) if only is not None else tuple(shape.default_parts())
        wanted = list(shown)
    needed = shape.needed(wanted)
    inputs = {name: found for name, found in shape.inputs.items() if name in needed}
    loaded: list[str] = ["session"] if needed & {"session", "steps"} else []
    if "steps" in needed:
        loaded.append("steps")
    for name in (*loaded, *(("request",) if loaded else ())):
        inputs.setdefault(name, Input(name, "builtin"))
    order = [name for name in shape.order if name in needed]
    names = (*inputs, *order, "degraded")
    slots = {name: index for index, name in enumerate(names)}
    template: list[Any] = [None] * len(names)
    for name, found in inputs.items():
        if found.source == "service":
            template[slots[name]] = services.get(name)
        elif found.default is not NOTHING:
            template[slots[name]] = found.default
    nodes = {name: _loader(shape, name, index, slots, loaders) for index, name in enumerate(loaded)}
    for name in order:
        nodes[name] = _node(shape, name, len(nodes), slots, loaded)
    for node in nodes.values():
        node.dependants = tuple(other for other in nodes.values() if node.name in other.needs)
    for node in reversed(nodes.values()):
        node.height = 1 + max((other.height for other in node.dependants), default=0)
    for node in nodes.values():
        node.dependants = tuple(sorted(node.dependants, key=lambda other: -other.height))
    roots = sorted((node for node in nodes.values() if not node.needs), key=lambda node: -node.height)
    return Plan(
        journey=shape.journey,
        shape=shape,
        view=view,
        slots=slots,
        template=template,
        nodes=tuple(nodes.values()),
        roots=tuple(roots),
        waiting=[len(node.needs) for node in nodes.values()],
        shown=shown,
        finish=_caller(function.parameters, slots, view.function)
        if function and view
        else _default(shown, slots),
        inputs=inputs,
        personal=bool(PERSONAL & needed),
        flat=len(roots) == len(nodes),
    )


def _loader(shape: Shape, name: str, index: int, slots: dict[str, int], loaders: Loaders) -> Node:
    function, found = loaders[name]
    source = slots["session" if name == "steps" else "request"]
    return Node(
        name=name,
        index=index,
        slot=slots[name],
        part=Part(name, function, found, shape.journey.place),
        returns=Any,
        invoke=lambda values: function(values[source]),
        needs=("session",) if name == "steps" else (),
        keyed=(),
        deadline=found.deadline,
        personal=True,
    )


def _node(shape: Shape, name: str, index: int, slots: dict[str, int], loaded: list[str]) -> Node:
    part = shape.journey.parts[name]
    function = shape.functions[name]
    given = function.parameters[shape.skips(name) :]
    needed = shape.needed([name])
    known = {*shape.functions, *loaded}
    deadline = None if part.batch else part.policy.deadline
    calls = any(
        (p.name in shape.inputs and shape.inputs[p.name].source == "service")
        or (p.name in shape.functions and shape.journey.parts[p.name].batch)
        for p in given
    )
    return Node(
        name=name,
        index=index,
        slot=slots[name],
        part=part,
        returns=function.returns,
        invoke=lookup(part, _values(given, slots)) if part.batch else _caller(given, slots, part.function),
        needs=tuple(dict.fromkeys(p.name for p in given if p.name in known)),
        keyed=tuple(sorted(n for n in needed if n in shape.inputs and shape.inputs[n].source != "service")),
        deadline=deadline,
        bounded=deadline is not None and calls,
        plain=part.policy.plain,
        sole=slots[given[0].name]
        if len(given) == 1 and not given[0].keyword and part.policy.plain and not part.batch
        else -1,
        check=None if part.batch else _check(function.returns),
        personal=bool(PERSONAL & needed),
    )


def _values(given: tuple[Parameter, ...], slots: dict[str, int]) -> Callable[[list[Any]], dict[str, Any]]:
    pairs = [(p.name, slots[p.name]) for p in given]
    return lambda values: {name: values[index] for name, index in pairs}


def _caller(
    given: tuple[Parameter, ...], slots: dict[str, int], function: Callable[..., Any]
) -> Callable[[list[Any]], Any]:
    """The function bound to its slots: `lambda values: function(values[3], x=values[5])`."""
    words = [f"{p.name}=values[{slots[p.name]}]" if p.keyword else f"values[{slots[p.name]}]" for p in given]
    return _made(f"lambda values: function({', '.join(words)})", function=function)


def _default(shown: tuple[str, ...], slots: dict[str, int]) -> Callable[[list[Any]], Any]:
    """The parts by name: `lambda values: {"details": values[3], …}`."""
    return _made(f"lambda values: {{{', '.join(f'{name!r}: values[{slots[name]}]' for name in shown)}}}")


def _made(source: str, **names: Any) -> Callable[[list[Any]], Any]:
    """A function from its source, so that nothing stands between it and its slots. Names are identifiers."""
    return eval(source, names)  # type: ignore[no-any-return]  # noqa: S307


def _check(returns: Any) -> Any:
    """What `isinstance` can tell at once about a returned value, or None."""
    while typing.get_origin(returns) is typing.Annotated:
        returns = typing.get_args(returns)[0]
    if returns is None:
        return type(None)
    if typing.is_typeddict(returns):
        return dict
    origin = typing.get_origin(returns)
    if origin in (typing.Union, types.UnionType):
        members = [_check(member) for member in typing.get_args(returns)]
        flat = [kind for member in members for kind in (member if isinstance(member, tuple) else (member,))]
        return None if None in flat else tuple(flat)
    returns = origin or returns
    if returns is float:
        return (float, int)
    if returns in (Any, object, HTML) or not isinstance(returns, type):
        return None
    return None if getattr(returns, "_is_protocol", False) else returns
