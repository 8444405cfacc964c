"""tierline funnel: how many visitors reached each step."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import urlencode

import click

from tierline.cli.shared import running
from tierline.errors import RunError, choices, nearest

_LANDS = 1.2
"""Seconds until an event is in the warehouse."""


@click.command()
@click.argument("name", required=False)
@click.option("--stack", type=click.Path(path_type=Path), help="The stack file or its folder.")
@click.option("--client", default="", help="Only this kind of client: web, mobile, affiliate.")
@click.option(
    "--since", default="400d", show_default=True, help="Only events of the last time, such as 1h or 7d."
)
@click.option("--json", "as_json", is_flag=True, help="As data.")
def command(name: str | None, stack: Path | None, client: str, since: str, as_json: bool) -> None:
    """Visitors and conversion per step. Of the funnel NAME, or of all."""
    from tierline.intent import duration
    from tierline.run import control
    from tierline.trips.ask import Telemetry

    try:
        seconds = duration(since)
    except ValueError as error:
        raise RunError(f"--since {since!r}: write {error}") from None
    told = control.ask(running(stack).root, {"do": "status"})
    time.sleep(_LANDS)
    telemetry = Telemetry(told)
    query = {"name": name or "", "client": client, "since": time.time() - seconds}
    found = telemetry.get(f"/funnels?{urlencode(query)}")
    known = [each["funnel"] for each in (telemetry.get("/funnels") if name and not found else found)]
    telemetry.close()
    if name and not found:
        raise RunError(
            f"no events of a funnel {name!r}{nearest(name, known)} there are: {choices(known) or 'none'}"
        )
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    if not found:
        click.echo("no events yet: a journey with .step(FUNNEL) makes one each time it is reached")
    for funnel in found:
        click.echo(click.style(funnel["funnel"], bold=True))
        for step in funnel["steps"]:
            bar = "█" * round(step["of_first"] * 20)
            went = f"{step['of_previous']:7.1%} of those before" if step["position"] else ""
            click.echo(
                f"  {step['position'] + 1} {step['step']:<16} {step['visitors']:>9,} visitors {step['events']:>9,} events  "
                f"{bar:<20} {step['of_first']:7.1%}  {went}".rstrip()
            )
