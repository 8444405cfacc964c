"""tierline season: play a season now, whatever the clock says."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import running


@click.command()
@click.argument("name")
@click.argument("what", type=click.Choice(["start", "end"]))
@click.argument("stack", required=False, type=click.Path(path_type=Path))
def command(name: str, what: str, stack: Path | None) -> None:
    """Start the season NAME, or end it. Its instances come first, then its warm-ups."""
    from tierline.run import control

    request = {"do": "season", "name": name, "begin": what == "start"}
    told = control.ask(running(stack).root, request, timeout=3700)
    click.echo(f"season {name} {'has begun' if what == 'start' else 'is over'}")
    for each in told["warmed"]:
        click.echo(f"  {'●' if each['well'] else '✗'} {each['what']:<30} {each['said']}")
