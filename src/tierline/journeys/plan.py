"""The plan of one kind of client: the parts that its view needs, and the slots that their values live in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tierline.journeys.batch import lookup
from tierline.journeys.binding import by_name, called, limited, pairs
from tierline.journeys.checks import instances
from tierline.journeys.conditions import gate, gates
from tierline.journeys.identity import identity
from tierline.journeys.inputs import NOTHING, PERSONAL
from tierline.journeys.journey import Journey, Part, View
from tierline.journeys.live import begins
from tierline.journeys.policy import CREDENTIALS, MISSING, Cache, Policy
from tierline.journeys.schedule import Input, Shape
from tierline.journeys.selection import source_of
from tierline.journeys.typed import as_typed

Loaders = Mapping[str, tuple[Callable[..., Any], Policy]]
"""Builtins that have to be waited for, as if they were parts: a request's `session`, its `steps`."""


_LOADED = ("session", "steps")
_PATIENT = 3.0
"""Seconds for a session that another request may hold."""


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
    cache: Cache | None = None
    """Its own policy, or the journey's."""
    vary: tuple[str, ...] = ()
    """Fields of the request that its value depends on."""
    forwards: tuple[str, ...] = ()
    """Fields of the request that go with its calls."""
    identity: str = ""
    """What its stored values are kept under: the same in two journeys that have the same part."""
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
    made_of: frozenset[str] = frozenset()
    """Names of the other parts that its value depends on."""
    gate: Callable[[list[Any]], bool] | None = None
    """Whether it has to run, for a part with a condition, or that only such parts need."""
    absent: bool = False
    """Its field is missing where it was not run."""


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
    reads: dict[str, frozenset[str]]
    """By field of the answer: every part that it is made of, and the session. Empty where a view doesn't say."""
    inputs: dict[str, Input]
    covered: tuple[str, ...]
    """Every part whose value the answer depends on, those of earlier stages included."""
    denied: tuple[str, ...]
    """Parts that the caller may not have: their fallbacks stand in for them."""
    personal: bool
    forwards: tuple[str, ...]
    """Fields of the request that go with calls."""
    flat: bool
    """No node needs another."""
    before: tuple[Plan, ...] = ()
    """The stages that have to succeed first: guards, what effects need, effects. They share the slots."""
    writes: bool = False
    """A stage of effects."""
    deferred: frozenset[str] = frozenset()
    """Parts that come after the first screen."""
    late: frozenset[str] = frozenset()
    """These, and what only they need."""
    pieces: dict[str, tuple[frozenset[str], Callable[[list[Any]], Any]]] = field(default_factory=dict)
    """Of a page in pieces, by deferred part: the parts that its piece is made of, and what makes it."""
    absent: frozenset[str] = frozenset()
    """Fields that an answer without a view may lack: parts whose condition doesn't hold."""

    @property
    def every(self) -> tuple[Node, ...]:
        """The nodes of all stages."""
        return tuple(node for stage in (*self.before, self) for node in stage.nodes)


def plan(
    shape: Shape,
    view: View | None,
    services: Mapping[str, Any],
    loaders: Loaders,
    only: Iterable[str] | None = None,
    denied: frozenset[str] = frozenset(),
) -> Plan:
    """What a view needs, or the default answer, or only some fields of it; nothing else is run.

    Guards, and what they need, are a plan of their own that runs before all else; what effects need, and the effects,
    the next ones (`Plan.before`). denied: parts that the caller may not have: their fallback is put in their slot instead.
    """
    function = next((f for v, f in shape.views if v is view), None)
    made = None if view is None else source_of(view.function)
    run, read = (view.function if view else None), None
    if function is not None:
        if made is not None and only is not None:
            only = tuple(only)
            run, read = made.only(only)
        wanted = [p.name for p in function.parameters if read is None or p.name in read]
        shown = tuple(name for name in wanted if name in shape.functions)
    else:
        shown = tuple(only) if only is not None else tuple(shape.default_parts())
        wanted = list(shown)
    late = frozenset(name for name in shown if shape.journey.parts[name].policy.defer)
    pieces = [
        (piece.of, f.parameters, piece.function)
        for piece, f in shape.pieces
        if view is not None and view.media == "text/html" and piece.kind == view.kind and piece.of in late
    ]
    prompt = [name for name in wanted if name not in late]
    wanted += [p.name for _, given, _ in pieces for p in given]
    made_of: dict[str, Iterable[str]] = {}
    if view is None:
        made_of.update((name, (name,)) for name in shown)
    elif made is not None:
        fields = made.fields if only is None else dict.fromkeys(path.partition(".")[0] for path in only)
        made_of.update((field, made.fields[field]) for field in fields)
    *earlier, answering = stages(shape, wanted, denied)
    needed = answering.union(*earlier)
    inputs = {name: found for name, found in shape.inputs.items() if name in needed}
    if needed & {"session", "steps"}:
        for name in ("session", "request"):
            inputs.setdefault(name, Input(name, "builtin"))
    if shape.requires:
        inputs.setdefault("identity", Input("identity", "builtin"))
    slots = {
        name: i for i, name in enumerate((*inputs, *(n for n in shape.order if n in needed), "degraded"))
    }
    template: list[Any] = [None] * len(slots)
    for name, found in inputs.items():
        if found.source == "service":
            template[slots[name]] = as_typed(services.get(name), found.type)
        elif found.default is not NOTHING:
            template[slots[name]] = found.default

    def stage(members: set[str], before: tuple[Plan, ...] = (), asked: Iterable[str] = ()) -> Plan:
        ways = gates(shape, members, asked or members, denied)
        nodes = _nodes(shape, members, denied, slots, loaders, services, ways)
        roots = sorted((node for node in nodes if not node.needs), key=lambda node: -node.height)
        return Plan(
            journey=shape.journey,
            shape=shape,
            view=view,
            slots=slots,
            template=template,
            nodes=nodes,
            roots=tuple(roots),
            waiting=[len(node.needs) for node in nodes],
            shown=shown,
            finish=called(function.parameters, slots, run, read)
            if function and run
            else by_name(shown, slots),
            reads={field: frozenset(_needed(shape, names, denied)) for field, names in made_of.items()},
            inputs=inputs,
            covered=tuple(name for name in shape.order if name in needed),
            denied=tuple(sorted(denied & needed)),
            personal=shape.personal(needed)
            or (function is not None and "request" in wanted)
            or bool(CREDENTIALS & {*forwarded(shape, needed, services)}),
            forwards=forwarded(shape, needed, services),
            flat=len(roots) == len(nodes),
            before=before,
            deferred=late,
            late=frozenset(members - _needed(shape, prompt, denied)) if late else frozenset(),
            pieces={
                of: (
                    frozenset(p.name for p in given if p.name in members and p.name in shape.functions)
                    - denied,
                    called(given, slots, made_by),
                )
                for of, given, made_by in pieces
            },
            absent=frozenset(shape.absent) & set(shown) if view is None else frozenset(),
        )

    earlier[-1] -= denied
    before = [stage(members) for members in earlier if members]
    if earlier[-1]:
        before[-1].writes = True
    return stage(answering, tuple(before), wanted)


def stages(
    shape: Shape, wanted: Iterable[str], denied: frozenset[str] = frozenset()
) -> tuple[set[str], set[str], set[str], set[str]]:
    """What runs one after the other: guards, what effects read, effects, the rest of what is wanted; each with all that
    it needs."""
    guarding = _needed(shape, shape.guards, denied)
    undoing = [
        p.name
        for effect, undo in shape.compensations.items()
        if effect not in denied
        for p in undo.parameters
    ]
    writing = _needed(shape, [*shape.effects, *undoing], denied) - guarding
    # Every read that an effect may need comes before the first effect.
    written = {name for name in writing if shape.needed([name]) & set(shape.effects)}
    return guarding, writing - written, written, _needed(shape, wanted, denied) - guarding - writing


def _needed(shape: Shape, names: Iterable[str], denied: frozenset[str]) -> set[str]:
    """All that these names need; `steps` are read from the session."""
    found = shape.needed(names, denied)
    return found | {"session"} if "steps" in found else found


def _nodes(
    shape: Shape,
    members: set[str],
    denied: frozenset[str],
    slots: dict[str, int],
    loaders: Loaders,
    services: Mapping[str, Any],
    ways: Mapping[str, frozenset[frozenset[str]]],
) -> tuple[Node, ...]:
    """The parts of one stage; what an earlier stage has made is in its slot already, and is not waited for."""
    members = members - denied
    loaded: list[str] = [name for name in _LOADED if name in members]
    nodes: dict[str, Node] = {}
    for name in loaded:
        nodes[name] = _loader(shape, name, len(nodes), slots, loaders, members)
    for name in shape.order:
        if name in members:
            nodes[name] = _node(shape, name, len(nodes), slots, members, denied, services, loaders)
    for name, found in ways.items():
        _gated(nodes[name], shape, found, slots, members)
    effects = [name for name in shape.effects if name in nodes]
    for name, first in zip(effects[1:], effects, strict=False):
        nodes[name].needs = tuple(dict.fromkeys((*nodes[name].needs, first)))
    for node in nodes.values():
        node.dependants = tuple(other for other in nodes.values() if node.name in other.needs)
    for node in _backwards(nodes):
        node.height = 1 + max((other.height for other in node.dependants), default=0)
    for node in nodes.values():
        node.dependants = tuple(sorted(node.dependants, key=lambda other: -other.height))
    return tuple(nodes.values())


def _backwards(nodes: dict[str, Node]) -> list[Node]:
    """The nodes so that each comes after its dependants."""
    done: dict[str, Node] = {}

    def visit(node: Node) -> None:
        if node.name not in done:
            for other in node.dependants:
                visit(other)
            done[node.name] = node

    for node in nodes.values():
        visit(node)
    return list(done.values())


def _loader(
    shape: Shape, name: str, index: int, slots: dict[str, int], loaders: Loaders, members: set[str]
) -> Node:
    function, found = loaders[name]
    if name == "session" and shape.journey.methods != ("GET",):
        # What changes something must not take a store that is away for a visitor who has nothing.
        found = replace(found, fallback=MISSING, deadline=_PATIENT)
    source = slots["session" if name == "steps" else "request"]
    return Node(
        name=name,
        index=index,
        slot=slots[name],
        part=Part(name, function, found, shape.journey.place),
        returns=Any,
        invoke=lambda values: function(values[source]),
        needs=("session",) if name == "steps" and "session" in members else (),
        keyed=(),
        deadline=found.deadline,
        personal=True,
    )


def _node(
    shape: Shape,
    name: str,
    index: int,
    slots: dict[str, int],
    members: set[str],
    denied: frozenset[str],
    services: Mapping[str, Any],
    loaders: Loaders,
) -> Node:
    part = shape.journey.parts[name]
    function = shape.functions[name]
    cache = shape.cache(name)
    given = function.parameters[shape.skips(name) :]
    needed = shape.needed([name])
    known = members & {*shape.functions, *_LOADED}
    deadline = None if part.batch else part.policy.deadline
    calls = any(
        (p.name in shape.inputs and shape.inputs[p.name].source == "service")
        or (p.name in shape.functions and shape.journey.parts[p.name].batch)
        for p in given
    )
    if part.batch and part.entities is not None:
        mine = tuple(getattr(services.get(p.name), "name", p.name) for p in given)
        keyed = [
            (n, slots[n]) for n in sorted(needed & set(shape.inputs)) if shape.inputs[n].source != "service"
        ]
        invoke = loaders["entities"][0](
            part, pairs(given, slots), lambda values: [(n, values[i]) for n, i in keyed], mine,
            forwarded(shape, needed, services),
        )  # fmt: skip
    elif part.batch:
        invoke = lookup(part, pairs(given, slots))
    elif part.live:
        sole = sum(other.live for other in shape.journey.parts.values()) == 1
        invoke = begins(part, pairs(given, slots), sole)
    else:
        invoke = called(given, slots, part.function)
    varies = cache is not None and "request" in needed
    if varies and any(p.name == "request" for p in given):
        assert cache is not None
        invoke = limited(invoke, slots["request"], name, cache.vary)
    plain = part.policy.plain and part.kind != "effect" and not (cache is not None and cache.store)
    return Node(
        name=name,
        index=index,
        slot=slots[name],
        part=part,
        returns=function.returns,
        invoke=invoke,
        cache=cache,
        vary=cache.vary if cache is not None and varies else (),
        forwards=forwarded(shape, needed, services),
        identity=identity(shape, name, needed, denied),
        needs=tuple(dict.fromkeys(p.name for p in given if p.name in known)),
        keyed=tuple(sorted(n for n in needed if n in shape.inputs and shape.inputs[n].source != "service")),
        deadline=deadline,
        bounded=deadline is not None and calls,
        plain=plain,
        sole=slots[given[0].name]
        if len(given) == 1 and not given[0].keyword and plain and not (part.batch or part.live or varies)
        else -1,
        check=None if part.batch else instances(function.returns),
        personal=bool(PERSONAL & needed),
        made_of=frozenset(needed & set(shape.functions) - {name}),
    )


def _gated(
    node: Node, shape: Shape, ways: frozenset[frozenset[str]], slots: dict[str, int], members: set[str]
) -> None:
    """The node, run only if one of these sets of conditions holds."""
    named = {p.name for way in ways for name in way for p in shape.conditions[name].parameters}
    known = [name for name in slots if name in named and name in members]
    node.needs = tuple(
        dict.fromkeys((*node.needs, *(n for n in known if n not in shape.inputs or n in _LOADED)))
    )
    node.gate = gate(shape, ways, slots)
    node.absent = node.name in shape.absent
    node.plain, node.sole = False, -1
    if node.check is not None:
        node.check = (*(node.check if isinstance(node.check, tuple) else (node.check,)), type(None))


def forwarded(shape: Shape, names: Iterable[str], services: Mapping[str, Any]) -> tuple[str, ...]:
    """The client's fields that go with calls to the services among these names."""
    found: set[str] = set()
    for name in names:
        if name in shape.inputs and shape.inputs[name].source == "service":
            found.update(getattr(services.get(name), "forward", ()))
    return tuple(sorted(found))
