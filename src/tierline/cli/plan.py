"""tierline plan: the stack resolved against a lineup, before anything starts."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import lineup_options, plan_of, stack_argument


@click.command()
@stack_argument
@lineup_options
@click.option("--json", "as_json", is_flag=True, help="The plan as data.")
@click.option("--svg", is_flag=True, help="The plan as a picture.")
def command(
    stack: Path | None, lineup: str, uses: tuple[str, ...], no_fusion: bool, as_json: bool, svg: bool
) -> None:
    """What would run, and what the lineup can't do. Places, roles, engines, fusion, wiring."""
    from tierline.plan.show import difference, picture, text
    from tierline.run.state import State

    plan, path = plan_of(stack, lineup, uses, no_fusion)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(plan), indent=1).decode())
        return
    state = State(path)
    told = (state.read() if state.held() else None) or {}
    if told.get("lineup") != dict(plan.lineup):  # another one runs: its addresses say nothing of this one
        told = {}
    if svg:
        click.echo(picture(plan))
        return
    click.echo(text(plan, told.get("addresses", {})))
    _tell_outdated(stack)
    other, _ = plan_of(stack, lineup, uses, not no_fusion)
    click.echo(difference(other, plan) if no_fusion else difference(plan, other))


def _tell_outdated(stack: Path | None) -> None:
    """Generated clients of services that don't match their documents any more."""
    from tierline.stack import load

    loaded, _ = load(stack)
    if loaded.journeys:
        from tierline.journeys.service_client import outdated

        for note in outdated(loaded.journeys):
            click.echo(f"{click.style('note', bold=True)}: {note}", err=True)
