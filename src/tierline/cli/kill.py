"""tierline kill: take a part of the line away."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import running


@click.command()
@click.argument("what", type=click.Choice(["process", "zone", "region"]))
@click.argument("name")
@click.argument("stack", required=False, type=click.Path(path_type=Path))
def command(what: str, name: str, stack: Path | None) -> None:
    """Take a part away: it is killed, and stays away until it is healed."""
    from tierline.run import control

    told = control.ask(running(stack).root, {"do": "kill", "what": what, "name": name})
    click.echo("kill: " + ", ".join(told["names"]))
