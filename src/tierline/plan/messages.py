"""Queues, topics, streams and who handles them: what can only go wrong is refused, what may surprise is told."""

from __future__ import annotations

from collections.abc import Iterator

from tierline.errors import PlanError
from tierline.stack import Stack
from tierline.tiers.feature.tier import Function, Queue, Stream, Topic

_DEAD = "-dead"


def check(stack: Stack) -> None:
    """Raises PlanError for two functions on one queue, and for names that dead letters take."""
    sources = {each.name: each for each in _sources(stack)}
    by_queue: dict[str, Function] = {}
    taken: dict[str, str] = {}
    for function in stack.functions:
        name = function.on.name
        if isinstance(function.on, Queue):
            other = by_queue.setdefault(name, function)
            if other is not function:
                raise PlanError(
                    f"Function({function.name!r}), on=Queue({name!r}): Function({other.name!r}) handles it already, and each "
                    "message of a queue goes to one of them; use a Topic for both to have all, or more instances of one: scale="
                )
            taken[f"{name}{_DEAD}"] = f"Queue({name!r})"
        else:
            taken[f"{name}-{function.name}{_DEAD}"] = f"Function({function.name!r}) on {name!r}"
    taken |= {
        f"{name}{_DEAD}": f"Queue({name!r})" for name, each in sources.items() if isinstance(each, Queue)
    }
    for name, source in sources.items():
        if name in taken:
            raise PlanError(
                f"{type(source).__name__}({name!r}): that is where the dead letters of {taken[name]} are; give it another name"
            )


def notes(stack: Stack) -> Iterator[str]:
    """Topics that may lose what is published. A queue keeps it, and a service may read its own queue."""
    handled = {function.on.name for function in stack.functions}
    for source in _sources(stack):
        users = [each.name for each in stack.services if source in each.uses]
        users += [each.name for each in stack.functions if source in each.uses]
        if isinstance(source, Topic) and source.name not in handled and len(users) < 2:
            yield (
                f"Topic({source.name!r}) has no function: what is published before an application has made a durable consumer "
                "is dropped"
            )


def _sources(stack: Stack) -> list[Queue | Topic | Stream]:
    used = [one for service in stack.services for one in service.uses]
    used += [one for function in stack.functions for one in (*function.uses, function.on)]
    found = {each.name: each for each in used if isinstance(each, Queue | Topic | Stream)}
    return list(found.values())
