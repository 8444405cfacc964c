"""tierline down: stop the line."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tierline.cli.shared import stack_argument
from tierline.errors import RunError

if TYPE_CHECKING:
    from tierline.run.state import State

_PATIENCE = 12.0


@click.command()
@stack_argument
@click.option("--volumes", is_flag=True, help="Remove the data, too.")
def command(stack: Path | None, volumes: bool) -> None:
    """Stop the line. Gracefully, then by force; data is kept unless --volumes."""
    from tierline.run.state import State
    from tierline.stack import find

    state = State(find(stack))
    state.check()
    was = state.held()
    if was:
        _stop(state)
    if (left := state.read()) is not None:
        from tierline.run.line import sweep

        sweep(left)
        state.close()
    if volumes:
        from tierline.run import leftovers

        leftovers.remove(state.root / "data")
        shutil.rmtree(state.root, ignore_errors=True)
    click.echo(f"{'stopped' if was else 'was not up'}{'; data removed' if volumes else ''}")


def _stop(state: State) -> None:
    """Ask the supervisor to stop everything and wait until it is gone; one that doesn't answer is killed."""
    from tierline.run import control
    from tierline.run.guardian import start_time

    asked = False
    told: dict[str, Any] = {}
    deadline = time.monotonic() + _PATIENCE
    while state.held() or (told and start_time(told["pid"]) == told["started"]):
        told = state.read() or told
        if not asked:
            with contextlib.suppress(RunError):  # it has only just begun to start: try again
                control.ask(state.root, {"do": "down"}, timeout=3)
                asked = True
        if time.monotonic() > deadline:
            if not told:
                raise RunError(f"the supervisor still runs after {_PATIENCE:g} s")
            with contextlib.suppress(ProcessLookupError):
                os.kill(told["pid"], signal.SIGKILL)
        time.sleep(0.01)
