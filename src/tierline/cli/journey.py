"""tierline journey: one journey, its schedule, and who decided how long a trip took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tierline.errors import StackError, choices, nearest


@click.command()
@click.argument("name")
@click.argument("stack", required=False, type=click.Path(path_type=Path))
@click.option("--explain", is_flag=True, help="The schedule in words (the default).")
@click.option("--svg", is_flag=True, help="The schedule as a picture.")
@click.option("--trip", "trace", help="A trace id: which parts were on that trip's critical path.")
def command(name: str, stack: Path | None, explain: bool, svg: bool, trace: str | None) -> None:
    """The schedule of the journey NAME: what waits for what, deadlines, fallbacks."""
    from tierline.journeys import explaining
    from tierline.stack import load

    loaded, _ = load(stack)
    found = {journey.name: journey for journey in loaded.journeys}
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
    return [msgspec.to_builtins(hop) for hop in hops(told, trace)]
