"""tierline metrics: what the line has counted."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tierline.cli.shared import running, stack_argument


@click.command()
@stack_argument
@click.option(
    "--callers", is_flag=True, help="Only the gateway's requests by route and consumer, as a table."
)
@click.option("--json", "as_json", is_flag=True, help="Those as data.")
def command(stack: Path | None, callers: bool, as_json: bool) -> None:
    """All requests so far, in Prometheus' format. By tier, and the gateway's by route and consumer."""
    from tierline.run import control
    from tierline.trips.ask import Telemetry

    telemetry = Telemetry(control.ask(running(stack).root, {"do": "status"}))
    if not callers and not as_json:
        click.echo(telemetry.read("/metrics").decode(), nl=False)
        return
    rows = telemetry.get("/callers")
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"{'route':<22}{'consumer':<26}{'status':<8}{'verdict':<22}{'zone':<6}requests")
    for row in rows:
        click.echo(
            f"{row['route'] or '-':<22.21}{row['consumer'] or '-':<26.25}{row['status']:<8}{row['verdict']:<22.21}"
            f"{row['zone']:<6}{row['requests']}"
        )
