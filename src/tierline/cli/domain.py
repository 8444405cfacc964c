"""tierline domain: what registering the stack's domain would take. It registers nothing."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tierline.cli.shared import stack_argument
from tierline.errors import RunError


@click.command()
@stack_argument
@click.option("--json", "as_json", is_flag=True, help="The plan as data, without the owner's contact.")
@click.option(
    "--request", type=click.Path(path_type=Path), help="Write the registrar's request here (mode 0600)."
)
def command(stack: Path | None, as_json: bool, request: Path | None) -> None:
    """What registering the domain would take. For whom, and at what price. Never registers anything."""
    import msgspec

    from tierline.stack import load
    from tierline.tiers.dns.common.registration import registering, reserved

    loaded, path = load(stack)
    if loaded.dns is None:
        raise RunError("this stack has no domain: give it dns=DNS('cinema.com', …)")
    domain, wanted = loaded.dns.domain, loaded.dns.registration
    if wanted is None:
        why = reserved(domain) or "give DNS a registration=Registration(contact='owner.json')"
        raise RunError(f"{domain} is not to be registered: {why}")
    plan = registering(domain, wanted.data(), path.parent)
    if request is not None:
        descriptor = os.open(request, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(plan.request), indent=2) + b"\n")
    if as_json:
        told = {name: value for name, value in msgspec.to_builtins(plan).items() if name != "request"}
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=1).decode())
        return
    click.echo(f"{plan.domain}  {'can be registered if nobody has it' if plan.possible else plan.why}")
    period = f"{plan.years} year{'s' if plan.years > 1 else ''}"
    click.echo(f"  for     {period}, {'renewed every year' if plan.auto_renew else 'not renewed'}")
    click.echo(f"  owner   {plan.owner}, {'not published' if plan.privacy else 'published'}")
    price = (
        f"${plan.cost:,.2f} for {period}"
        if plan.cost is not None
        else "ask the registrar (step 2), then price="
    )
    click.echo(f"  price   {price}")
    if plan.possible:
        click.echo("nothing was registered. To do it:")
        for number, step in enumerate(plan.steps, 1):
            click.echo(f"  {number}. {step}")
