"""tierline scale: another number of instances of a service, without failing a request."""

from __future__ import annotations

import time
from pathlib import Path

import click

from tierline.cli.named import name_and_stack, status
from tierline.cli.shared import running
from tierline.cli.view import services
from tierline.errors import RunError


@click.command()
@click.argument("service", required=False)
@click.argument("instances", required=False)
@click.argument("stack", required=False, type=click.Path(path_type=Path))
@click.option("--auto", is_flag=True, help="Give the number back to the service's scale.")
def command(service: str | None, instances: str | None, stack: Path | None, auto: bool) -> None:
    """Run INSTANCES of SERVICE in each zone. Those who call it are told while requests go on.

    The number stays until it is given back with --auto. SERVICE may be a function, or `experience`: the journeys.
    """
    from tierline.run import control

    service, _ = name_and_stack(
        service, Path(instances) if instances is not None else None, lambda stack: "scale what? name a service, and a "
        "number of instances per zone:\n" + "\n".join(services(status(stack), time.time()))
    )  # fmt: skip
    if auto and stack is None:
        stack, instances = Path(instances) if instances is not None else None, None
    if auto and instances is not None:
        raise RunError(
            f"scale {service} {instances} --auto: a number pins it, --auto gives it back; say one of them"
        )
    if not auto and (instances is None or not instances.isdecimal() or int(instances) > 256):
        raise RunError(
            f"scale {service}{f' {instances}' if instances else ''}: give a number of instances per zone from 0 to 256, or --auto"
        )
    number = None if auto or instances is None else int(instances)
    request = {"do": "scale", "service": service, "instances": number}
    told = control.ask(running(stack).root, request, timeout=120)
    for what in ("added", "told", "restarted", "removed"):
        if told[what]:
            click.echo(f"{what:<10}{', '.join(told[what])}")
    if auto:
        click.echo(f"{service} follows its scale again")
