"""tierline sign: a token for what the CDN gives only to who has one."""

from __future__ import annotations

import time

import click

from tierline.cli.named import where
from tierline.cli.shared import running
from tierline.errors import RunError


@click.command()
@click.argument("words", nargs=-1, metavar="[STACK] PATH")
@click.option("--for", "lasts", default="1h", show_default=True, help="How long it counts.")
def command(words: tuple[str, ...], lasts: str) -> None:
    """Sign PATH for who may have it, and print it with its token. All below it, when it ends in /."""
    from tierline.intent import duration
    from tierline.tiers.cdn.tier import SIGNING_KEY, sign

    path, stack = where(words, "sign")
    try:
        until = int(time.time() + duration(lasts))
    except ValueError as wrong:
        raise RunError(f"--for {lasts!r}: {wrong}") from None
    state = running(stack)
    click.echo(f"{path}?token={sign(state.secret(SIGNING_KEY), path, until)}")
