"""tierline down: stop the line."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click

from tierline.cli.shared import stack_argument
from tierline.errors import RunError

_PATIENCE = 12.0


@click.command()
@stack_argument
@click.option("--volumes", is_flag=True, help="Remove the data, too.")
def command(stack: Path | None, volumes: bool) -> None:
    """Stop the line gracefully, then by force; data is kept unless --volumes."""
    from tierline.run import control
    from tierline.run.guardian import start_time
    from tierline.run.state import State
    from tierline.stack import find

    state = State(find(stack))
    state.check()
    was = state.held()
    if was:
        told = state.read() or {}
        control.ask(state.root, {"do": "down"})
        deadline = time.monotonic() + _PATIENCE
        while state.held() or (told and start_time(told["pid"]) == told["started"]):
            if time.monotonic() > deadline:
                raise RunError(f"the supervisor {told.get('pid', '')} still runs after {_PATIENCE:g} s")
            time.sleep(0.01)
    elif (left := state.read()) is not None:
        from tierline.run.line import sweep

        sweep(left)
        state.close()
    if volumes:
        shutil.rmtree(state.root, ignore_errors=True)
    click.echo(f"{'stopped' if was else 'was not up'}{'; data removed' if volumes else ''}")
