"""tierline restart: stop and start a process, or all of a service."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.named import name_and_stack, parts, status
from tierline.cli.shared import running


@click.command()
@click.argument("name", required=False)
@click.argument("stack", required=False, type=click.Path(path_type=Path))
def command(name: str | None, stack: Path | None) -> None:
    """Restart the process NAME, or those of a service or tier. Returns when all are ready again."""
    from tierline.run import control

    name, stack = name_and_stack(
        name,
        stack,
        lambda stack: f"restart what? name a process, tier, service or resource:\n{parts(status(stack))}",
    )
    told = control.ask(running(stack).root, {"do": "restart", "name": name}, timeout=300)
    for process in told["restarted"]:
        click.echo(f"{process['name']} is ready again, pid {process['pid']}")
