"""tierline heal: bring a part back."""

from __future__ import annotations

import click

from tierline.cli.part import part, words
from tierline.cli.shared import running


@click.command()
@words
def command(words: tuple[str, ...]) -> None:
    """Bring back what was killed, hung or delayed."""
    from tierline.run import control

    what, name, _, stack = part(words)
    told = control.ask(running(stack).root, {"do": "heal", "what": what, "name": name})
    click.echo("heal: " + ", ".join(told["names"]))
