"""What a journey will do, in words and as a picture; and what a trip says it did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from tierline.journeys import explained
from tierline.journeys.explained import duration, levels, needs
from tierline.journeys.inputs import NOTHING, spoken
from tierline.journeys.journey import Journey
from tierline.journeys.policy import MISSING, Policy


def words(policy: Policy) -> str:
    """A part's policy, short."""
    found = []
    if policy.deadline is not None:
        found.append(f"deadline {duration(policy.deadline)}")
    if policy.retries:
        found.append(f"{policy.retries} retr{'y' if policy.retries == 1 else 'ies'}")
    if policy.hedge is not None:
        found.append(f"hedged after {duration(policy.hedge)}")
    if policy.cache is not None:
        cache = policy.cache
        stale = f", stale {duration(cache.stale)}" if cache.stale else ""
        found.append(f"cached {duration(cache.max_age)} ({cache.per}{stale})")
    if policy.bulkhead is not None:
        found.append(f"at most {policy.bulkhead.limit} at once")
    if policy.fallback is not MISSING:
        shown = "computed" if callable(policy.fallback) else repr(policy.fallback)
        found.append(f"falls back to {shown if len(shown) <= 40 else shown[:37] + '…'}")
    return ", ".join(found)


def explain(
    journey: Journey,
    hops: Sequence[Mapping[str, Any]] | None = None,
    services: Mapping[str, Any] | None = None,
) -> str:
    """What a request of this journey runs, in which order, what is stored and merged, and how it is answered.

    hops: a trip's; then also what was on its critical path. services: as for `build`, for the client's fields that go
    with their calls.
    """
    shape = journey.shape()
    lines = [
        f"{journey.name}  {' '.join(journey.methods)} {journey.path}  deadline {duration(journey.deadline)}"
    ]
    if journey.about:
        lines.append(f"  {journey.about}")
    inputs = []
    for found in shape.inputs.values():
        if found.source in ("path", "query"):
            default = "" if found.default is NOTHING else f" = {found.default!r}"
            inputs.append(f"{found.name}: {spoken(found.type)}{default} ({found.source})")
        elif found.source == "builtin":
            inputs.append(found.name)
    lines.append(f"  takes     {', '.join(inputs) or 'nothing'}")
    for found in shape.inputs.values():
        if found.source == "dimension":
            lines.append(f"  differs   {journey.dimensions[found.name].explained()}")
    lines.append(f"  calls     {', '.join(shape.services) or 'nothing'}")
    lines += explained.conditions_of_callers(shape)
    effects = shape.effects
    width = max(len(name) for name in journey.parts)
    for number, row in enumerate(levels(shape)):
        for index, name in enumerate(row):
            head = f"  level {number + 1}   " if not index else " " * 12
            part = journey.parts[name]
            after = needs(shape, name)
            about = ["guard"] if part.kind == "guard" else []
            if part.kind == "effect":
                about.append(f"effect {effects.index(name) + 1} of {len(effects)}")
            if after:
                about.append(f"after {', '.join(after)}")
            if part.batch:
                about.append(f"look-up, {part.batch} keys a call")
            if part.policy.hidden and not part.batch and part.kind != "guard":
                about.append("hidden")
            if part.live:
                about.append("live")
            if part.policy.defer:
                about.append("deferred")
            if name in shape.conditions:
                about.append(f"only when {shape.conditions[name].said}")
            if policy := words(part.policy):
                about.append(policy)
            lines.append(f"{head}{name:<{width}}  {'; '.join(about)}".rstrip())
    lines += explained.writes(shape)
    lines += explained.kept(shape, services or {})
    lines += explained.merged(shape)
    lines += explained.answers(shape, services or {})
    for step in journey.steps:
        after_step = f", after {step.after}" if step.after else ""
        must = f"; a visitor who hasn't been there gets 409 with go_to {step.back}" if step.required else ""
        lines.append(f"  step      {step.index + 1} of {step.funnel}{after_step}{must}")
    if hops is not None:
        lines.extend(_trip(journey, hops))
    return "\n".join(lines)


def critical_path(journey: Journey, hops: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The parts that the answer waited for: `{"part", "start_us", "duration_us", "waited_us"}` in order.

    hops: a trip's, as `tierline trip --json` prints them (or raw records). `waited_us` is the time between
    the end of the part before and the start of this one: the engine's own.
    """
    found: dict[str, tuple[int, int]] = {}
    for hop in hops:
        if hop.get("tier", hop.get("T")) == "experience":
            name = hop.get("name") or hop.get("n") or ""
            attributes = hop.get("attributes") or hop.get("a") or {}
            if name in journey.parts and attributes.get("tierline.journey", journey.name) == journey.name:
                start = int(hop.get("start_us", hop.get("b", 0)))
                found[name] = (start, start + int(hop.get("duration_us", hop.get("d", 0))))
    if not found:
        return []
    shape = journey.shape()
    name = max(found, key=lambda part: found[part][1])
    chain = [name]
    while before := [part for part in needs(shape, name) if part in found]:
        name = max(before, key=lambda part: found[part][1])
        chain.append(name)
    chain.reverse()
    path, ended = [], min(start for start, _ in found.values())
    for name in chain:
        start, end = found[name]
        path.append(
            {"part": name, "start_us": start, "duration_us": end - start, "waited_us": max(0, start - ended)}
        )
        ended = end
    return path


def _trip(journey: Journey, hops: Sequence[Mapping[str, Any]]) -> list[str]:
    path = critical_path(journey, hops)
    if not path:
        return ["  trip      no part of this journey is in it"]
    total = sum(step["duration_us"] + step["waited_us"] for step in path)
    lines = [f"  critical  {' → '.join(step['part'] for step in path)}: {total / 1000:.1f} ms"]
    for step in path:
        lines.append(f"            {step['part']}  {step['duration_us'] / 1000:.1f} ms")
    return lines


def mermaid(journey: Journey) -> str:
    """The schedule as Mermaid text."""
    shape = journey.shape()
    lines = ["flowchart LR"]
    for name in journey.parts:
        policy = words(journey.parts[name].policy).replace('"', "'")
        lines.append(f'  {name}["{name}{f"<br/>{policy}" if policy else ""}"]')
    for name in journey.parts:
        lines.extend(f"  {need} --> {name}" for need in needs(shape, name))
    for view, function in shape.views:
        node = f"view_{view.kind}_{view.name}"
        lines.append(f'  {node}(["{view.kind}"])')
        lines.extend(f"  {p.name} -.-> {node}" for p in function.parameters if p.name in shape.functions)
    return "\n".join(lines)


def svg(journey: Journey) -> str:
    """The schedule as a picture: levels from left to right, lines for who waits for whom."""
    shape = journey.shape()
    rows = levels(shape)
    wide, high, gap_x, gap_y, edge = 190, 46, 60, 18, 16
    place: dict[str, tuple[int, int]] = {}
    tallest = max(len(row) for row in rows)
    for column, row in enumerate(rows):
        offset = (tallest - len(row)) * (high + gap_y) // 2
        for index, name in enumerate(row):
            place[name] = (edge + column * (wide + gap_x), edge + 28 + offset + index * (high + gap_y))
    width = 2 * edge + len(rows) * wide + (len(rows) - 1) * gap_x
    height = 2 * edge + 28 + tallest * high + (tallest - 1) * gap_y
    title = f"{journey.name}  {journey.path}"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escape(f"Schedule of {title}")}" '
        'font-family="ui-sans-serif, system-ui, sans-serif">',
        "<style>.b{fill:#f4f6fb;stroke:#46527a}.f{stroke-dasharray:4 3}"
        ".l{fill:none;stroke:#8792b5;stroke-width:1.5}"
        ".n{font-size:13px;font-weight:600;fill:#1c2440}.p{font-size:10px;fill:#56607f}.t{font-size:14px;fill:#1c2440}"
        "@media(prefers-color-scheme:dark){.b{fill:#1d2336;stroke:#8fa0d8}.n,.t{fill:#e8ecfa}.p{fill:#aab3d2}}</style>",
        f'<text class="t" x="{edge}" y="{edge + 12}">{escape(title)}</text>',
    ]
    for name, (x, y) in place.items():
        for need in needs(shape, name):
            from_x, from_y = place[need][0] + wide, place[need][1] + high // 2
            to_y = y + high // 2
            middle = (from_x + x) // 2
            out.append(
                f'<path class="l" d="M{from_x} {from_y}C{middle} {from_y} {middle} {to_y} {x} {to_y}"/>'
            )
    for name, (x, y) in place.items():
        policy = journey.parts[name].policy
        about = words(policy)
        soft = " f" if policy.fallback is not MISSING else ""
        out.append(f'<rect class="b{soft}" x="{x}" y="{y}" width="{wide}" height="{high}" rx="7"/>')
        out.append(f'<text class="n" x="{x + 10}" y="{y + (19 if about else 28)}">{escape(name)}</text>')
        if about:
            short = about if len(about) <= 34 else about[:33] + "…"
            out.append(
                f'<text class="p" x="{x + 10}" y="{y + 35}">{escape(short)}'
                f"<title>{escape(about)}</title></text>"
            )
    out.append("</svg>")
    return "\n".join(out)
