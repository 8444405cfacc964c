"""tierline restart: stop and start one process."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import running


@click.command()
@click.argument("name")
@click.argument("stack", required=False, type=click.Path(path_type=Path))
def command(name: str, stack: Path | None) -> None:
    """Restart the process NAME, or the one that plays the role NAME; returns when it is ready again."""
    from tierline.run import control

    told = control.ask(running(stack).root, {"do": "restart", "name": name})
    click.echo(f"{told['name']} is ready again, pid {told['pid']}")
