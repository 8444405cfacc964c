"""tierline trip: one request's way through every tier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tierline.cli.named import where
from tierline.cli.shared import running
from tierline.errors import RunError


@click.command()
@click.argument("words", nargs=-1, metavar="[STACK] PATH")
@click.option(
    "--as", "client", default="web", show_default=True, type=click.Choice(["web", "mobile", "affiliate"])
)
@click.option("--from", "region", help="The region the client is in; default: the stack's own.")
@click.option("--method", default="GET", show_default=True)
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME: VALUE", help="One more header.")
@click.option("--data", help="The request's body; @FILE reads it from a file.")
@click.option("--token", help="A bearer token; 'dev' signs one with the line's own issuer.")
@click.option("--json", "as_json", is_flag=True, help="As data.")
@click.option("--body", "show_body", is_flag=True, help="Print the answer's body, too.")
def command(
    words: tuple[str, ...], client: str, region: str | None, method: str, headers: tuple[str, ...], data: str | None,
    token: str | None, as_json: bool, show_body: bool,
) -> None:  # fmt: skip
    """Send one request and show its trip through every tier. As a client would send it."""
    from tierline.run import control
    from tierline.trips.ask import hops
    from tierline.trips.client import Client
    from tierline.trips.trip import document, ordered

    path, stack = where(words, "trip")
    state = running(stack)
    told = control.ask(state.root, {"do": "status"})
    sent = identity(told, client)
    for each in headers:
        name, colon, value = each.partition(":")
        if not colon:
            raise RunError(f"--header {each!r}: write 'Name: value'")
        sent[name.strip().lower()] = value.strip()
    if token == "dev":  # noqa: S105  a word, not a secret
        token = control.ask(state.root, {"do": "token", "claims": {"sub": "alice"}, "lifetime": 300})["token"]
    if token:
        sent["authorization"] = f"Bearer {token}"
    body = None
    if data is not None:
        body = Path(data[1:]).read_bytes() if data.startswith("@") else data.encode()
        sent.setdefault("content-type", "application/json")
        method = "POST" if method == "GET" else method
    authority = state.root / "authority" / "ca.pem"
    asked = Client(told, authority, told["domain"], region or told["region"])
    answer = asked.ask(path, sent, method=method, body=body)
    listed = ordered(answer.hops(hops(told, answer.trace)))
    trip = document(answer.trace, answer.status, answer.total_us, listed)
    _leads(told, trip)
    if as_json:
        click.echo(json.dumps(trip, indent=1))
    else:
        click.echo(waterfall(path, trip))
    if show_body:
        click.echo(answer.body.decode(errors="replace"))


def identity(told: dict[str, Any], client: str) -> dict[str, str]:
    """The headers that make a request one of a web, mobile or affiliate client."""
    if client == "mobile":
        return {"x-client": "mobile", "x-app-version": "1.0.0", "user-agent": "tierline-trip (mobile)"}
    if client == "affiliate":
        header = told.get("affiliate_header", "x-affiliate")
        return {"x-client": "affiliate", header: "acme", "user-agent": "tierline-trip (affiliate)"}
    return {
        "x-client": "web",
        "user-agent": "tierline-trip (web)",
        "accept": "text/html,application/json;q=0.9",
    }


def _leads(told: dict[str, Any], trip: dict[str, Any]) -> None:
    """Hops at one of several that hold the same data say whether it leads: its role's name says what it was at first."""
    roles = {process["name"]: process["roles"] for process in told["processes"]}
    parts = {
        role: name == cluster["leader"]
        for cluster in told["clusters"]
        for name in (cluster["leader"], *(each["name"] for each in cluster["followers"]))
        for role in roles.get(name, ())
    }
    for hop in trip["hops"]:
        leads = parts.get(hop["attributes"].get("tierline.role", ""))
        if leads is not None:
            hop["attributes"]["tierline.leads"] = leads
            hop["verdict"] += ", leads" if leads else ", follows"


_CELLS = " ▏▎▍▌▋▊▉█"
_WIDTH = 14


def waterfall(path: str, trip: dict[str, Any]) -> str:
    """The trip as lines: tier, system, zone, a bar of its own time, its own time, verdict."""
    total = max(trip["total_us"], 1)
    colour = "green" if trip["status"] < 400 else "yellow" if trip["status"] < 500 else "red"
    head = f"{click.style(str(trip['status']), fg=colour)}  {trip['total_us'] / 1000:.1f} ms  {path}"
    lines = [f"{head}{'':<12}trace {trip['trace_id'][:16]}"]
    for hop in trip["hops"]:
        own = hop["own_us"]
        filled = min(own / total, 1) * _WIDTH
        bar = "█" * int(filled) + (_CELLS[int(filled % 1 * 8)] if filled < _WIDTH else "")
        name = hop["attributes"].get("name", "")
        policy, who = (hop["attributes"].get(key, "") for key in ("tierline.policy", "enduser.id"))
        name += (f"  by {policy}" if policy else "") + (
            f"  as {who}" if who and hop["tier"] == "gateway" else ""
        )
        verdict = hop["verdict"] + (" ✗" if hop["attributes"].get("error") else "")
        lines.append(
            f"  {hop['tier']:<11} {hop['system']:<13.13} {hop['zone']:<14} {bar:<{_WIDTH}} {own / 1000:7.2f} ms  "
            f"{verdict}{'  ' + click.style(name, dim=True) if name else ''}"
        )
    return "\n".join(lines)
