"""tierline reload: the stack file as it is now, applied to the running line."""

from __future__ import annotations

from pathlib import Path

import click

from tierline.cli.shared import plan_of, running, stack_argument


@click.command()
@stack_argument
def command(stack: Path | None) -> None:
    """Apply what changed in the stack file. No request fails.

    A stack that is wrong, or a configuration that an engine refuses, changes nothing.
    """
    import msgspec

    from tierline.run import control

    state = running(stack)
    told = control.ask(state.root, {"do": "status"})
    uses = tuple(f"{slot}={system}" for slot, system in told["lineup"].items())
    plan, _ = plan_of(stack, "embedded", uses, not told["fusion"])
    done = control.ask(state.root, {"do": "apply", "plan": msgspec.to_builtins(plan)}, timeout=180)
    changes = {what: done[what] for what in ("added", "told", "restarted", "removed") if done[what]}
    for what, names in changes.items():
        click.echo(f"{what:<10}{', '.join(names)}")
    if not changes:
        click.echo("nothing changed")
