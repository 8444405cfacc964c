"""tierline down: stop the line."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

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
    was = _stop(state) or _stop_removed(state)
    left = _tidy(state, volumes)
    said = "stopped" if was else "was not up"
    if left and not was:
        said += f"; {left} processes that it had left were ended"
    click.echo(f"{said}{'; data removed' if volumes else ''}")


def _tidy(state: State, volumes: bool) -> int:
    """End what nobody supervises any more and remove what says that the line is up; how many processes were ended.

    Under the lock: a line that is started meanwhile waits, or is left alone.
    """
    from tierline.run import guardian

    told = state.read()
    if state.root.is_dir():
        try:
            state.take(sweeping=True)
        except OSError as error:
            raise RunError(
                f"{state.root}: {error.strerror}; run tierline down as the user that ran up"
            ) from None
    known, look = state.leftovers(told)
    left = look()
    guardian.sweep(known, look)
    if volumes:
        from tierline.run import leftovers

        leftovers.remove(state.root / "data")
        shutil.rmtree(state.root, ignore_errors=True)
    state.close()
    return len(left)


def _stop_removed(state: State) -> bool:
    """Stop a supervisor whose state folder was removed: it can only be signalled."""
    from tierline.run import guardian

    pids = [pid for pid, removed in guardian.holders(str(state.real)).items() if removed]
    began = {pid: guardian.start_time(pid) for pid in pids}
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, 2.0)):
        deadline = time.monotonic() + patience
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                if guardian.start_time(pid) == began[pid]:
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, number)
        while time.monotonic() < deadline and any(guardian.start_time(pid) == began[pid] for pid in pids):
            time.sleep(0.02)
    return bool(pids)


def _stop(state: State) -> bool:
    """Ask the supervisor to stop everything and wait until it is gone; one that doesn't answer is killed. Whether there
    was one."""
    from tierline.run import control, guardian

    if not state.held():
        return False
    asked = False
    supervisors = {pid: guardian.start_time(pid) for pid in guardian.holders(str(state.real))}
    for pid in supervisors:
        if guardian.suspended(pid):
            os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + _PATIENCE
    while state.held() or any(guardian.start_time(pid) == began for pid, began in supervisors.items()):
        if not asked:
            with contextlib.suppress(RunError):  # it has only just begun to start: try again
                control.ask(state.root, {"do": "down"}, timeout=3)
                asked = True
        if time.monotonic() > deadline:
            supervisors = supervisors or {
                pid: guardian.start_time(pid) for pid in guardian.holders(str(state.real))
            }
            if not supervisors:
                raise RunError(f"the supervisor still runs after {_PATIENCE:g} s, as another user")
            for pid, began in supervisors.items():
                with contextlib.suppress(OSError):
                    if guardian.start_time(pid) == began:
                        os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return True
