"""tierline delay: a part that answers late, and what users notice of it."""

from __future__ import annotations

import click

from tierline.cli.part import heal_with, part, watch_options, watched
from tierline.cli.shared import running
from tierline.errors import RunError


@click.command()
@click.argument("words", nargs=-1, metavar="[process|zone|region] NAME TIME [STACK]")
@click.option(
    "--jitter", default="0ms", show_default=True, help="Each delay is longer or shorter by up to this."
)
@watch_options
def command(words: tuple[str, ...], jitter: str, watch: bool, rate: float, seconds: float) -> None:
    """Make a part slow. Whatever it is sent arrives TIME (200ms, 1.5s) later, until it is healed.

    New connections and those that are open already: of clients, other tiers, services; of databases, caches and
    queues too; and datagrams (DNS, HTTP/3). No connection is refused or cut when it begins or ends.
    """
    from tierline.intent import duration
    from tierline.run import control

    what, name, (wanted,), stack = part("delay", words, more=1)
    try:
        late, give = duration(wanted), duration(jitter)
    except ValueError as error:
        raise RunError(
            f"delay {name} {wanted}, --jitter {jitter}: TIME and jitter are each {error}; NAME comes first"
        ) from None
    if not 0 < late <= 60:
        raise RunError(
            f"delay {name} {wanted}: that is {late:g} s; more than 0 and up to 60s are allowed, such as 200ms"
        )
    if give > late:
        raise RunError(
            f"delay {name} {wanted}, --jitter {jitter}: no more jitter than delay, at most {wanted}"
        )
    state = running(stack)
    request = {"do": "delay", "what": what, "name": name, "seconds": late, "jitter": give}
    shown = wanted + (f" ± {jitter}" if give else "")
    if watch:
        watched(state, request, f"delayed by {shown}", rate, seconds)
        return
    told = control.ask(state.root, request)
    click.echo(f"delay {shown}: {', '.join(told['names'])}; until {heal_with(what, name, stack)}")
    for at in told["at"]:
        click.echo(f"  {at}")
    for note in told["notes"]:
        click.echo(f"  {note}")
