"""tierline scale: another number of instances of a service, without failing a request."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import running


@click.command()
@click.argument("service")
@click.argument("instances", type=click.IntRange(1, 256))
@click.argument("stack", required=False, type=click.Path(path_type=Path))
def command(service: str, instances: int, stack: Path | None) -> None:
    """Run INSTANCES of SERVICE in each zone; those who call it are told while requests go on."""
    from tierline.run import control

    request = {"do": "scale", "service": service, "instances": instances}
    told = control.ask(running(stack).root, request, timeout=120)
    for what in ("added", "told", "restarted", "removed"):
        if told[what]:
            click.echo(f"{what:<10}{', '.join(told[what])}")
