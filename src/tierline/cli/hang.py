"""tierline hang: a part that no longer answers."""

from __future__ import annotations

import click

from tierline.cli.part import heal_with, part, watch_options, watched, words
from tierline.cli.shared import running


@click.command()
@words
@watch_options
def command(words: tuple[str, ...], watch: bool, rate: float, seconds: float) -> None:
    """Stop a part in its tracks. It gets SIGSTOP, keeps its sockets and answers nothing."""
    from tierline.run import control

    what, name, _, stack = part(words)
    state = running(stack)
    request = {"do": "hang", "what": what, "name": name}
    if watch:
        watched(state, request, "hung", rate, seconds)
    else:
        names = control.ask(state.root, request)["names"]
        click.echo(f"hang: {', '.join(names)}; until {heal_with(what, name, stack)}")
