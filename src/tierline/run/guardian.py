"""The guardian: sees to it that nothing outlives the supervisor, not even when that was killed with -9.

`python -I -S guardian.py ROOT`: standard input is a pipe from the supervisor. Lines `+ PID START` and
`- PID` say which processes there are. When the pipe ends without a line `done`, the supervisor died: every
process that is still the one that was meant (same pid, same start time) is asked to stop, and killed after
a second; then the state folder's socket, state and lock are removed.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress

_PATIENCE = 1.5


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  pathlib would double this program's start
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def sweep(processes: dict[int, str]) -> None:
    """End these processes and their groups."""

    def alive() -> list[int]:
        return [pid for pid, began in processes.items() if start_time(pid) == began]

    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, 2.0)):
        for pid in alive():
            _signal(pid, signal.SIGCONT)
            _signal(pid, number)
        deadline = time.monotonic() + patience
        while alive() and time.monotonic() < deadline:
            time.sleep(0.02)
    for pid in processes:  # workers whose master was killed
        if not start_time(pid):
            _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def main() -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    root = sys.argv[1]
    processes: dict[int, str] = {}
    for line in sys.stdin:
        action, *rest = line.split()
        if action == "done":
            return
        if action == "+":
            # One that had ended before it was looked at has no start time; its workers may be there all the same.
            processes[int(rest[0])] = rest[1] if len(rest) > 1 else "-"
        elif action == "-":
            processes.pop(int(rest[0]), None)
    sweep(processes)
    with suppress(OSError):
        lock = os.open(os.path.join(root, "lock"), os.O_RDWR)  # noqa: PTH118
        # Taken already: the line was started again meanwhile, and what is there is its own.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in ("state.json", "control.sock", "lock"):
            with suppress(OSError):
                os.unlink(os.path.join(root, name))  # noqa: PTH108, PTH118


if __name__ == "__main__":
    main()
