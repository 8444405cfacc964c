"""tierline hang: a part that no longer answers."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import running


@click.command()
@click.argument("what", type=click.Choice(["process", "zone", "region"]))
@click.argument("name")
@click.argument("stack", required=False, type=click.Path(path_type=Path))
def command(what: str, name: str, stack: Path | None) -> None:
    """Stop a part in its tracks (SIGSTOP): it keeps its sockets and answers nothing."""
    from tierline.run import control

    told = control.ask(running(stack).root, {"do": "hang", "what": what, "name": name})
    click.echo("hang: " + ", ".join(told["names"]))
