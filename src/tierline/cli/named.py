"""What can be named on the command line, told to who named nothing: the parts of a line, its paths, its seasons."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tierline.errors import RunError, TierlineError, nearest


def is_stack(word: str | None) -> bool:
    """Whether a word can only mean a stack: a stack file, or a folder that has one."""
    if word is None:
        return False
    path = Path(word)
    return (path / "stack.py").is_file() or (path.suffix == ".py" and path.is_file())


def name_and_stack(
    name: str | None, stack: Path | None, missing: Callable[[Path | None], str]
) -> tuple[str, Path | None]:
    """For `COMMAND NAME [STACK]`. Raises RunError with `missing` of the stack when there is no NAME."""
    if name is None or (stack is None and is_stack(name)):
        raise RunError(missing(Path(name) if name is not None else None))
    return name, stack


def status(stack: Path | None) -> dict[str, Any]:
    """What the line that is up says of itself. Raises RunError when it isn't."""
    from tierline.cli.shared import running
    from tierline.run import control

    return control.ask(running(stack).root, {"do": "status"})


def parts(told: dict[str, Any]) -> str:
    """All that has a name, by tier: roles first, then processes that are called otherwise."""
    from tierline.plan.model import TIERS

    tiers: dict[str, dict[str, list[str]]] = {}
    roles: set[str] = set()
    for process in told["processes"]:
        for role, tier in zip(process["roles"], process["tiers"], strict=False):
            roles |= {role, role.partition(".")[0]}
            places = tiers.setdefault(tier, {}).setdefault(role.partition(".")[0], [])
            if role not in places and "." in role:
                places.append(role)
    others = [process["name"] for process in told["processes"] if process["name"] not in roles]
    lines = [
        f"  {tier:<12}" + "; ".join(
            f"{name} ({', '.join(ids)})" if ids else name for name, ids in tiers[tier].items()
        )
        for tier in TIERS if tier in tiers
    ]  # fmt: skip
    if others:
        lines.append(f"  {'processes':<12}{', '.join(others)}")
    lines.append(f"  {'zone':<12}{', '.join(told['zones'])}")
    if told["places"]:
        lines.append(f"  {'region':<12}{', '.join(told['places'])}")
    return "\n".join(lines)


def broken(told: dict[str, Any]) -> list[str]:
    """What was killed, hung or delayed, a line for each, with the command that heals it."""
    lines = []
    for process in told["processes"]:
        late = process["delay"]
        if process["phase"] in ("killed", "hung"):
            state = str(process["phase"])
        elif late:
            state = f"delayed by {late['seconds'] * 1000:g} ms"
            state += f" ± {late['jitter'] * 1000:g} ms" if late["jitter"] else ""
        else:
            continue
        lines.append(f"  {process['name']:<26}{state:<28}tierline heal {process['name']}")
    return lines


def paths(stack: Path | None) -> list[str]:
    """Paths that the stack answers, of its own workload, journeys and services."""
    from tierline.compare import workload
    from tierline.stack import load

    loaded, _ = load(stack)
    try:
        visits = workload.of_stack(loaded)
    except TierlineError:
        return ["/"]
    return list(dict.fromkeys(re.sub(r"\{(\d+)\.\.\d+\}", r"\1", visit.path) for visit in visits))


def where(words: Sequence[str], command: str) -> tuple[str, Path | None]:
    """For `COMMAND [STACK] PATH`: the path, and the stack. Raises RunError that proposes paths of the stack."""
    *before, path = words or ("",)
    if len(before) <= 1 and path.startswith("/") and not (is_stack(path) and not before):
        return path, Path(before[0]) if before else None
    if path and is_stack(path) and not before:
        before, path = [path], ""
    known = paths(Path(before[0]) if before and is_stack(before[0]) else None)
    hint = nearest(path if path.startswith("/") else f"/{path}", known) if path else ";"
    said = " ".join([command, *words])
    raise RunError(
        f"{said}: write an optional STACK and a path that begins with /{hint} this stack answers {some(known)}"
    )


def some(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (", …" if len(listed) > most else "")


def seasons(stack: Path | None) -> list[str]:
    """A line for each season: of the line when it is up, of the stack file when it isn't."""
    from tierline.cli.view import season
    from tierline.stack import load

    try:
        told = status(stack)
    except RunError:
        loaded, _ = load(stack)
        return [
            f"{each.name:<16}at least {each.min} in each zone; the line isn't up" for each in loaded.seasons
        ]
    return [season(each, time.time()) for each in told["seasons"]]
