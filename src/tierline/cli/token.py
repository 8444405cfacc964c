"""tierline token: a development token from the line's own issuer."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import running, stack_argument
from tierline.errors import RunError


@click.command()
@stack_argument
@click.option("--sub", default="alice", show_default=True, help="Who the token is for.")
@click.option("--claim", "claims", multiple=True, metavar="NAME=VALUE", help="One more claim.")
@click.option(
    "--lifetime", default=3600.0, show_default=True, help="Seconds until it expires; may be negative."
)
def command(stack: Path | None, sub: str, claims: tuple[str, ...], lifetime: float) -> None:
    """A signed token that the line's gateway accepts."""
    from tierline.run import control

    for each in claims:
        if not each.partition("=")[1]:
            raise RunError(f"--claim {each!r}: write NAME=VALUE, such as --claim scope=admin")
    more = dict(each.partition("=")[::2] for each in claims)
    told = control.ask(
        running(stack).root, {"do": "token", "claims": {"sub": sub, **more}, "lifetime": lifetime}
    )
    click.echo(told["token"])
