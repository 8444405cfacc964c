"""tierline kill: take a part of the line away, and see what users notice."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Any

import click

from tierline.cli.shared import running


@click.command()
@click.argument("what", type=click.Choice(["process", "zone", "region"]))
@click.argument("name")
@click.argument("stack", required=False, type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="A steady load before, during and after; then heal, and tell.")
@click.option("--rate", default=100.0, show_default=True, help="With --watch: requests per second.")
@click.option(
    "--seconds", default=12.0, show_default=True, help="With --watch: in all; the kill comes at a third."
)
def command(what: str, name: str, stack: Path | None, watch: bool, rate: float, seconds: float) -> None:
    """Take a part away: it is killed, and stays away until it is healed."""
    from tierline.run import control

    state = running(stack)
    request = {"do": "kill", "what": what, "name": name}
    if not watch:
        click.echo("kill: " + ", ".join(control.ask(state.root, request)["names"]))
        return
    _watch(state, request, rate, seconds)


def _watch(state: Any, request: dict[str, Any], rate: float, seconds: float) -> None:
    from tierline.compare import load, watch, workload
    from tierline.run import control
    from tierline.stack import load as load_stack
    from tierline.trips.ask import counts
    from tierline.trips.client import Client

    told = control.ask(state.root, {"do": "status"})
    stack, _ = load_stack(state.stack)
    visits = workload.of_stack(stack)
    regions = {visit.region or told["region"] for visit in visits}
    authority = state.root / "authority" / "ca.pem"

    def resolve(region: str) -> load.Target:
        client = Client(told, authority, told["domain"], region)
        where, trust = client.resolve(), client.trust()
        context = trust if isinstance(trust, ssl.SSLContext) else None
        return load.Target(where.host, where.port, told["domain"], context)

    targets = {region: resolve(region) for region in regions}
    at = seconds / 3
    asked = workload.requests(visits, told["region"], 1)
    load.open_loop(targets, asked, rate, 1.0)  # warm
    before = counts(told)
    kill = threading.Timer(at, lambda: control.ask(state.root, request))
    kill.start()
    try:
        seen = load.open_loop(targets, asked, rate, seconds, resolve)
    finally:
        kill.join()
        healed = control.ask(state.root, {**request, "do": "heal"})
    event = f"killed {request['what']} {request['name']} ({', '.join(healed['names'])}), healed at the end"
    click.echo(watch.text(watch.noticed(seen, at), event))
    for line in watch.saved(before, counts(told)):
        click.echo(f"  {line}")
    if seen.limited:
        click.echo("  the load generator was itself the limit: ask for less with --rate")
