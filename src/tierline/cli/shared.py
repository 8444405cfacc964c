"""What several commands take: the stack, the lineup, ports."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tierline.errors import RunError

if TYPE_CHECKING:
    from tierline.plan.model import Plan
    from tierline.run.state import State


def stack_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("stack", required=False, type=click.Path(path_type=Path))(command)


def lineup_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--lineup, --use and --no-fusion."""

    @click.option("--lineup", default="embedded", show_default=True, help="Which system plays each tier.")
    @click.option("--use", "uses", multiple=True, metavar="SLOT=SYSTEM", help="Another system for one slot.")
    @click.option("--no-fusion", is_flag=True, help="A process of its own for every role.")
    @functools.wraps(command)
    def wrapped(*args: Any, **named: Any) -> Any:
        return command(*args, **named)

    return wrapped


def plan_of(stack: Path | None, lineup: str, uses: tuple[str, ...], no_fusion: bool) -> tuple[Plan, Path]:
    """Load, choose and resolve."""
    from tierline.lineups import choose
    from tierline.plan.resolve import resolve
    from tierline.stack import load

    chosen = choose(lineup, uses)
    loaded, path = load(stack)
    return resolve(loaded, chosen, fusion=not no_fusion), path


def running(stack: Path | None) -> State:
    """The state of a line that is up. Raises RunError when it isn't."""
    from tierline.run import guardian
    from tierline.run.state import State
    from tierline.stack import find

    state = State(find(stack))
    state.check()
    if not state.held():
        raise RunError(f"this stack isn't up: start it with tierline up {stack or ''}".rstrip())
    told = state.read()
    if told is not None and guardian.suspended(told["pid"]):
        raise RunError(
            f"the supervisor (pid {told['pid']}) is suspended, and what runs is on its own: continue it with fg, or "
            f"kill -CONT {told['pid']}; tierline down stops the line"
        )
    return state


def ports_of(given: tuple[str, ...]) -> dict[str, int]:
    """`--port https=9443` → {"https": 9443}. Raises RunError for what is no port, or one that is given twice."""
    found: dict[str, int] = {}
    for each in given:
        name, _, number = each.partition("=")
        right = number.isascii() and number.isdigit() and len(number) < 6 and 0 < int(number) < 65536
        if name not in ("https", "http", "dns") or not right:
            raise RunError(f"--port {each!r}: write https=PORT, http=PORT or dns=PORT, from 1 to 65535")
        if name in found:
            raise RunError(f"--port {each!r}: {name} is given already, as {found[name]}; give it once")
        if other := next((o for o, port in found.items() if port == int(number)), None):
            raise RunError(f"--port {each!r}: {other} has this port already; each needs its own")
        found[name] = int(number)
    return found
