"""What a sampled request records of its parts: a hop for each, and who the answer waited for."""

from __future__ import annotations

import time
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from tierline.journeys.eager import Eager, awaited
from tierline.journeys.guard import guarded
from tierline.journeys.plan import Node
from tierline.journeys.policy import MISSING
from tierline.trips import record
from tierline.trips.hop import Hop

if TYPE_CHECKING:
    from tierline.journeys.routes import Route
    from tierline.journeys.run import Run


def start(run: Run, node: Node, ready: list[Node]) -> None:
    """Start one part, with a span of its own that its calls are part of."""
    outer = run.span
    assert outer is not None
    context = copy_context()
    mine = record.Span(outer.trace, record.span_id(), True)
    began = time.time_ns()
    context.run(record.current.set, mine)
    degraded = len(run.degraded or ())
    try:
        value = context.run(node.invoke, run.values) if node.plain else guarded(node, run)
    except Exception as error:
        end(run, node, (mine, began), error)
        run._fail(node, error, ready)
        return
    if type(value) is not CoroutineType and hasattr(value, "__await__"):
        value = awaited(value)
    if type(value) is CoroutineType:
        task = Eager(run.loop, value, context)
        if node.bounded:
            run._bound(node, task)
        task.span = (mine, began)
        if not task.begin():
            run._suspend(node, task)
            return
        end(run, node, task.span, task.error)
        if task.error is not None:
            run._fail(node, task.error, ready)
            return
        value = task.value
    elif degraded == len(run.degraded or ()):
        end(run, node, (mine, began), None)
    run._settle(node, value, ready)


def end(run: Run, node: Node, span: tuple[record.Span, int], error: BaseException | None) -> None:
    """A part ended: its hop, and its place among the others."""
    mine, began = span
    ended = time.time_ns()
    assert run.marks is not None
    assert run.span is not None
    run.marks[node.name] = (began, ended)
    verdict = ""
    attributes: dict[str, Any] = {"tierline.journey": run.plan.journey.name}
    if node.needs:
        attributes["tierline.needs"] = list(node.needs)
    if error is not None:
        attributes["error.type"] = type(error).__name__
        verdict = "degraded" if node.part.policy.fallback is not MISSING else "failed"
    else:
        verdict = run.frame.shared.pop(("verdict", node.name), "")
    record.recorder.write(
        Hop(
            status=1 if error is not None else 0,
            trace=mine.trace,
            span=mine.span,
            parent=run.span.span,
            tier="experience",
            system="journeys",
            zone=run.engine.zone,
            start_us=began // 1000,
            duration_us=(ended - began) // 1000,
            verdict=verdict,
            name=node.name,
            attributes=attributes,
        )
    )


def critical(run: Run) -> list[str]:
    """The chain of parts that the answer waited for, by when they ended. Only when sampled."""
    marks = run.marks or {}
    if not marks:
        return []
    needs = {node.name: node.needs for node in run.plan.nodes}
    name = max(marks, key=lambda part: marks[part][1])
    chain = [name]
    while before := [part for part in needs[name] if part in marks]:
        name = max(before, key=lambda part: marks[part][1])
        chain.append(name)
    return chain[::-1]


def answered(
    route: Route, zone: str, outer: record.Span, span: record.Span, began: int, status: int, run: Run | None
) -> None:
    """A request was answered: the journey's own hop."""
    verdict, attributes = "", {"http.response.status_code": status, "http.route": route.journey.path}
    if run is not None:
        count = len(run.marks or ())
        verdict = f"{count} part{'' if count == 1 else 's'}"
        chain = critical(run)
        if chain:
            verdict += f", critical: {' → '.join(chain)}"
            attributes["tierline.critical"] = chain
        if run.degraded:
            for word, stale in (("without", False), ("old", True)):
                if names := [name for name, entry in run.degraded.items() if entry.stale is stale]:
                    verdict += f", {word} {', '.join(names)}"
            attributes["tierline.degraded"] = list(run.degraded)
        if run.failure is not None:
            verdict += f", {run.failure.node.name} failed"
    ended = time.time_ns()
    record.recorder.write(
        Hop(
            status=status,
            trace=span.trace,
            span=span.span,
            parent=outer.span,
            tier="experience",
            system="journeys",
            zone=zone,
            start_us=began // 1000,
            duration_us=(ended - began) // 1000,
            verdict=verdict,
            name=route.journey.name,
            attributes=attributes,
        )
    )
