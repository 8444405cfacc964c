"""tierline sign: a token for what the CDN gives only to who has one."""

from __future__ import annotations

import time
from pathlib import Path

import click

from tierline.cli.shared import running
from tierline.errors import RunError


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[STACK] PATH")
@click.option("--for", "lasts", default="1h", show_default=True, help="How long it counts.")
def command(words: tuple[str, ...], lasts: str) -> None:
    """Sign PATH for who may have it, and print it with its token. All below it, when it ends in /."""
    from tierline.intent import duration
    from tierline.tiers.cdn.tier import SIGNING_KEY, sign

    *before, path = words
    if len(before) > 1 or not path.startswith("/"):
        raise RunError(f"sign {' '.join(words)}: write an optional STACK and a path that begins with /")
    try:
        until = int(time.time() + duration(lasts))
    except ValueError as wrong:
        raise RunError(f"--for {lasts!r}: {wrong}") from None
    state = running(Path(before[0]) if before else None)
    click.echo(f"{path}?token={sign(state.secret(SIGNING_KEY), path, until)}")
