"""tierline hang: a part that no longer answers."""

from __future__ import annotations

import click

from tierline.cli.part import heal_with, part, watch_options, watched, words
from tierline.cli.shared import running


@click.command()
@words
@watch_options
def command(words: tuple[str, ...], watch: bool, rate: float, seconds: float) -> None:
    """Stop a part in its tracks. It gets SIGSTOP, keeps its sockets and answers nothing.

    Without NAME: what there is.
    """
    from tierline.run import control

    what, name, _, stack = part("hang", words)
    state = running(stack)
    request = {"do": "hang", "what": what, "name": name}
    if watch:
        watched(state, request, "hung", rate, seconds)
    else:
        told = control.ask(state.root, request)
        click.echo(f"hang: {', '.join(told['names'])}; until {heal_with(what, name, stack)}")
        for note in told["notes"]:
            click.echo(f"  {note}")
