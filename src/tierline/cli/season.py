"""tierline season: play a season now, whatever the clock says."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tierline.cli.named import is_stack, seasons
from tierline.cli.shared import running
from tierline.errors import RunError


@click.command()
@click.argument("name", required=False)
@click.argument("what", required=False, metavar="[start|end]")
@click.argument("stack", required=False, type=click.Path(path_type=Path))
def command(name: str | None, what: str | None, stack: Path | None) -> None:
    """Start the season NAME, or end it. Its instances come first, then its warm-ups.

    Without NAME: the seasons there are. Exit code 1: the season is on, but a warm-up failed.
    """
    from tierline.run import control

    if name is None or (what is None and is_stack(name)):
        lines = seasons(Path(name) if name else None)
        click.echo("\n".join(lines) or "this stack has no seasons: Stack(seasons=[Season(…)]) plans one")
        return
    if what not in ("start", "end"):
        raise RunError(
            f"season {' '.join(filter(None, (name, what)))}: write tierline season {name} start, or end"
        )
    request = {"do": "season", "name": name, "begin": what == "start"}
    told = control.ask(running(stack).root, request, timeout=3700)
    click.echo(f"season {name} {'has begun' if what == 'start' else 'is over'}")
    for each in told["warmed"]:
        click.echo(f"  {'●' if each['well'] else '✗'} {each['what']:<30} {each['said']}")
    if not all(each["well"] for each in told["warmed"]):
        sys.exit(1)
