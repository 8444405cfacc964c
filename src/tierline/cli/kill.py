"""tierline kill: take a part of the line away, and see what users notice."""

from __future__ import annotations

import click

from tierline.cli.part import heal_with, part, watch_options, watched, words
from tierline.cli.shared import running


@click.command()
@words
@watch_options
def command(words: tuple[str, ...], watch: bool, rate: float, seconds: float) -> None:
    """Take a part away. It is killed, and stays away until it is healed.

    Without NAME: what there is.
    """
    from tierline.run import control

    what, name, _, stack = part("kill", words)
    state = running(stack)
    request = {"do": "kill", "what": what, "name": name}
    if watch:
        watched(state, request, "killed", rate, seconds)
    else:
        told = control.ask(state.root, request)
        click.echo(f"kill: {', '.join(told['names'])}; until {heal_with(what, name, stack)}")
        for note in told["notes"]:
            click.echo(f"  {note}")
