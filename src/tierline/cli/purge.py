"""tierline purge: take copies out of every cache and place."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from tierline.cli.shared import running, stack_argument
from tierline.errors import RunError


@click.command()
@stack_argument
@click.option("--path", "paths", multiple=True, metavar="PATH", help="This path, with any query.")
@click.option(
    "--prefix", "prefixes", multiple=True, metavar="PATH", help="This path and all below it; / for all."
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="All that came with this Surrogate-Key.")
def command(
    stack: Path | None, paths: tuple[str, ...], prefixes: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    """Purge copies everywhere at once. From the HTTP caches and from every place of the CDN.

    No engine knows how many copies that were. Exit code 1: one of them didn't take the order.
    """
    from tierline.run import control

    if not paths and not prefixes and not tags:
        raise RunError("say what to purge: --path /films/1, --prefix /films/ or --tag films")
    for path in (*paths, *prefixes):
        if not path.startswith("/"):
            raise RunError(f"{path!r}: a path begins with /")
    began = time.monotonic()
    order = {"do": "purge", "paths": paths, "prefixes": prefixes, "tags": tags}
    purged = control.ask(running(stack).root, order)["purged"]
    for each in purged:
        click.echo(f"  {'●' if each['well'] else '✗'} {each['role']:<22} {each['said']}")
    if failed := [each["role"] for each in purged if not each["well"]]:
        click.echo(f"{', '.join(failed)} may serve older copies: heal or restart, then purge again")
        sys.exit(1)
    click.echo(f"purged everywhere in {(time.monotonic() - began) * 1000:.0f} ms")
