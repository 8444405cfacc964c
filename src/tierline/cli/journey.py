"""tierline journey: one journey, its schedule, and who decided how long a trip took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tierline.cli.named import is_stack
from tierline.errors import StackError, choices, nearest


@click.command()
@click.argument("name", required=False)
@click.argument("stack", required=False, type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="The schedule in words (the default).")
@click.option("--svg", is_flag=True, help="The schedule as a picture.")
@click.option(
    "--trip", "trace", help="A trace id as `tierline trip` prints it: which parts its answer waited for."
)
def command(name: str | None, stack: Path | None, explain: bool, svg: bool, trace: str | None) -> None:
    """The schedule of the journey NAME. What waits for what, deadlines, fallbacks."""
    from tierline.journeys import explaining
    from tierline.stack import load

    if name is not None and stack is None and is_stack(name):
        stack, name = Path(name), None
    loaded, _ = load(stack)
    found = {journey.name: journey for journey in loaded.journeys}
    if name is None:
        raise StackError(f"journey: which one? there are: {choices(found)}")
    if name not in found:
        raise StackError(f"no journey {name!r}{nearest(name, found)} there are: {choices(found)}")
    if svg:
        click.echo(explaining.svg(found[name]))
        return
    click.echo(explaining.explain(found[name], _hops(stack, trace) if trace else None))


def _hops(stack: Path | None, trace: str) -> list[dict[str, Any]]:
    import msgspec

    from tierline.cli.shared import running
    from tierline.run import control
    from tierline.trips.ask import hops

    told = control.ask(running(stack).root, {"do": "status"})
    return [msgspec.to_builtins(hop) for hop in hops(told, _whole(told, trace))]


def _whole(told: dict[str, Any], trace: str) -> str:
    """The whole trace id of one that begins as `tierline trip` prints it."""
    from tierline.trips.ask import Telemetry

    if len(trace) >= 32:
        return trace
    telemetry = Telemetry(told)
    known: list[str] = [each["trace_id"] for each in telemetry.get("/trips")]
    telemetry.close()
    found = [each for each in known if each.startswith(trace)]
    if len(found) != 1:
        raise StackError(
            f"--trip {trace!r} is the beginning of {len(found)} of the last {len(known)} trips; "
            "tierline trip prints a trip's trace id, and with --json all of it"
        )
    return found[0]
