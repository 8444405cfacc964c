"""Lines of `explain`: what is asked of callers, written, stored, merged and answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tierline.journeys.kept import Kept
from tierline.journeys.plan import Loaders, forwarded, plan, stages
from tierline.journeys.policy import MISSING, Cache, Policy
from tierline.journeys.schedule import Shape
from tierline.journeys.selection import source_of

_LOADERS: Loaders = {
    **{name: ((lambda given: given), Policy()) for name in ("session", "steps")},
    "entities": (Kept(None, None).lookup, Policy()),
}


def duration(seconds: float) -> str:
    """0.1 as `100 ms`."""
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"


def levels(shape: Shape) -> list[list[str]]:
    """The parts by what has to finish before them: guards, what effects read, effects one by one, all others."""
    rows: list[list[str]] = []
    effects = shape.effects
    for members in stages(shape, shape.journey.parts):
        level: dict[str, int] = {}

        def of(name: str, members: set[str] = members, level: dict[str, int] = level) -> int:
            if name not in level:
                before = [need for need in needs(shape, name) if need in members]
                if name in effects:
                    before += effects[: effects.index(name)][-1:]
                level[name] = 1 + max((of(need) for need in before), default=-1)
            return level[name]

        found = [(of(name), name) for name in shape.journey.parts if name in members]
        for number in range(max((number for number, _ in found), default=-1) + 1):
            rows.append([name for at, name in found if at == number])
    return rows


def needs(shape: Shape, name: str) -> list[str]:
    """The parts that a part waits for."""
    given = list(shape.functions[name].parameters[shape.skips(name) :])
    if name in shape.conditions:
        given += shape.conditions[name].parameters
    return list(dict.fromkeys(p.name for p in given if p.name in shape.functions))


def conditions_of_callers(shape: Shape) -> list[str]:
    """Whom the journey, or one of its parts, is for; and what refuses."""
    lines = []
    for name, requires in shape.requires.items():
        if not name:
            lines.append(f"  requires  {requires}; else 401 without a token, 403 with one; before all else")
        else:
            falls = shape.journey.parts[name].policy.fallback is not MISSING
            then = "its fallback" if falls else "the request is refused: 401 or 403"
            lines.append(f"  requires  {name}: {requires}; else it isn't run, and {then}")
    if shape.guards:
        lines.append(
            f"  guards    {', '.join(shape.guards)}: before all others; one that fails refuses the request"
        )
    return lines


def writes(shape: Shape) -> list[str]:
    """Effects: their order, where their keys come from, how they are undone."""
    effects = shape.effects
    if not effects:
        return []
    lines = [
        f"  writes    {', '.join(effects)}: one after the other, when all that they read is there; not cancelled",
        "            key: the request's Idempotency-Key, else one that the session keeps; the same key gets the same "
        "values for a day",
    ]
    for effect in effects:
        undo = shape.journey.compensations.get(effect)
        name = getattr(undo.function, "__name__", "a function") if undo is not None else ""
        drops = shape.journey.parts[effect].policy.drops
        lines.append(
            f"            {effect}: {f'undone by {name}' if undo is not None else 'stays'} when a later one fails"
            + (f"; makes {', '.join(drops)} old" if drops else "")
        )
    return lines


def kept(shape: Shape, services: Mapping[str, Any]) -> list[str]:
    """What is stored, for whom, under which key, how long."""
    lines: list[str] = []
    for name, part in shape.journey.parts.items():
        cache = shape.cache(name)
        if cache is None or part.batch:
            continue
        needed = shape.needed([name])
        values = sorted(n for n in needed if n in shape.inputs and shape.inputs[n].source != "service")
        key = [n for n in values if n not in ("session", "identity", "request", "steps")]
        if "identity" in needed:
            key.append("the token's claims")
        key += [f"header {field}" for field in cache.vary]
        key += [f"header {field}" for field in forwarded(shape, needed, services)]
        lasts = [duration(cache.max_age), *(_afterwards(cache) if cache.store else ())]
        whose = (
            "shared by all"
            if cache.per == "public"
            else "each user's own (the token's sub, else the session)"
        )
        if not cache.store:
            whose = "not stored here, only in the caches in front"
        elif shape.journey.methods != ("GET",):
            whose = "not stored: the journey doesn't only answer GET"
        else:
            whose += f", by {', '.join(key)}" if key else ", one value"
        keys = f"; dropped by {', '.join(cache.keys)}" if cache.keys else ""
        lines.append(f"{_head('cached', lines)}{name}: {', '.join(lasts)}; {whose}{keys}")
    return lines


def _afterwards(cache: Cache) -> list[str]:
    found = []
    if cache.stale:
        found.append(f"then {duration(cache.stale)} stale while one call refreshes it")
    if cache.stale_if_error:
        found.append(f"{duration(cache.stale_if_error)} where the part fails")
    return found


def merged(shape: Shape) -> list[str]:
    """Which calls are made once."""
    lines: list[str] = []
    if shape.services:
        lines.append(
            f"  merged    equal GET calls of one request to {', '.join(shape.services)} are one, until it is written to"
        )
    for name, part in shape.journey.parts.items():
        if part.batch:
            lines.append(
                f"{_head('merged', lines)}keys of {name} at one moment are one call, {part.batch} at most"
            )
    stored = [
        name for name in shape.journey.parts if (cache := shape.cache(name)) is not None and cache.store
    ]
    if stored and shape.journey.methods == ("GET",):
        lines.append(
            f"{_head('merged', lines)}requests at one moment run {', '.join(stored)} once for each key"
        )
    return lines


def answers(shape: Shape, services: Mapping[str, Any]) -> list[str]:
    """What each kind of client gets, how long that holds, and what `?fields=` leaves out."""
    from tierline.journeys.answer import control, varies

    lines: list[str] = []
    journey = shape.journey
    always = {*shape.guards, *shape.effects}
    for view, function in [*shape.views, (None, None)]:
        made = plan(shape, view, services, _LOADERS)
        vary = varies(made)
        held = control(made).decode() + (f"; varies by {', '.join(vary)}" if vary else "")
        if view is None or function is None:
            fields = {name: needs_of(shape, [name]) for name in shape.default_parts()}
            lines.append(f"  answer    without a view: {', '.join(fields) or 'nothing'}; {held}")
        else:
            since = f" since {'.'.join(map(str, view.since))}" if view.since else ""
            shown = ", ".join(p.name for p in function.parameters)
            left = [name for name in journey.parts if name not in {*made.covered, *always}]
            source = source_of(view.function) if view.media == "application/json" else None
            fields = {} if source is None else {f: needs_of(shape, read) for f, read in source.fields.items()}
            lines.append(
                f"  view      {view.kind}{since}: {view.media} of {shown}"
                + (f"; not run: {', '.join(left)}" if left else "")
                + ("; streams the parts" if view.stream else "")
                + f"; {held}"
            )
            if view.media == "application/json" and source is None:
                lines.append(
                    "            ?fields= cuts it afterwards: its function is not one `return {…}` or TypedDict"
                )
        if len({tuple(read) for read in fields.values()}) > 1:
            rows = [f"{field} runs {', '.join(read) or 'nothing more'}" for field, read in fields.items()]
            lines.append(f"            ?fields= {'; '.join(rows)}")
    return lines


def needs_of(shape: Shape, names: Any) -> list[str]:
    """The parts that run for these names, besides guards and effects and what these need."""
    *before, _ = stages(shape, [])
    return [name for name in shape.order if name in shape.needed(names) - set().union(*before)]


def _head(word: str, lines: list[str]) -> str:
    return f"  {word:<8}  " if not lines else " " * 12
