"""tierline heal: bring a part back."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.named import broken, is_stack, status
from tierline.cli.part import part, words
from tierline.cli.shared import running


@click.command()
@words
def command(words: tuple[str, ...]) -> None:
    """Bring back what was killed, hung or delayed. Returns when it is ready again.

    Without NAME: what is.
    """
    from tierline.run import control

    if not words or (len(words) == 1 and is_stack(words[0])):
        lines = broken(status(Path(words[0]) if words else None))
        click.echo("\n".join(lines) or "nothing is killed, hung or delayed")
        return
    what, name, _, stack = part("heal", words)
    told = control.ask(running(stack).root, {"do": "heal", "what": what, "name": name}, timeout=300)
    if told["names"]:
        click.echo("heal: " + ", ".join(told["names"]) + "; ready again")
    else:
        click.echo(f"nothing of {name} was killed, hung or delayed: {', '.join(told['well'])}")
