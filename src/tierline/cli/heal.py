"""tierline heal: bring a part back."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import running


@click.command()
@click.argument("what", type=click.Choice(["process", "zone", "region"]))
@click.argument("name")
@click.argument("stack", required=False, type=click.Path(path_type=Path))
def command(what: str, name: str, stack: Path | None) -> None:
    """Bring back what was killed or hung."""
    from tierline.run import control

    told = control.ask(running(stack).root, {"do": "heal", "what": what, "name": name})
    click.echo("heal: " + ", ".join(told["names"]))
