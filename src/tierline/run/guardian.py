"""The guardian: sees to it that nothing outlives the supervisor, not even when that was killed with -9.

`python -I -S guardian.py ROOT LINE RUN`: standard input is a pipe from the supervisor. Lines `+ PID START` and
`- PID` say which processes there are, `leftover PATH` which sockets elsewhere a killed one leaves. When the pipe ends
without a line `done`, the supervisor died: every process of the line is asked to stop, and killed after a second; then
those sockets, and the state folder's own, its state and its lock are removed.

Which processes are the line's is also known without the supervisor's word (`found`): a process that was forked in the
moment in which the supervisor died, or whose state folder was damaged, moved or removed. Each carries a mark in its
environment; those that overwrite their environment with a title (nginx, PostgreSQL) append to the line's logs.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

MARK = "TIERLINE_LINE"
"""The environment variable that all processes of a line have: `LINE.RUN:ROOT`, the line's id, that of one run of it, and
its state folder. Whatever a service starts inherits it and ends with the line; `env -u TIERLINE_LINE` starts
something that doesn't."""
_PATIENCE = 1.5
_KILLED = 2.0
_LATE = 0.15
"""Seconds in which a process that was just forked shows its mark."""
_GONE = " (deleted)"
SWEEPING = b"sweeping\n"
"""What the lock file says while somebody holds it who only tidies up."""


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  pathlib would double this program's start
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def found(root: str, line: str, run: str = "", besides: Iterable[int] = ()) -> dict[int, str]:
    """The processes of a line, pid → start time, whatever its state folder says.

    root: the state folder's path. line: its id, empty when it isn't known. run: only those of this run, by their marks.
    besides: never these, and never the caller.
    """
    skipped = {os.getpid(), *besides}
    seen: list[tuple[int, str, str, set[str]]] = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or (pid := int(name)) in skipped or not (began := start_time(pid)):
            continue
        with suppress(OSError):
            try:
                mark, logs = _mark(pid), _logs(pid)
            except PermissionError:
                mark, logs = "", {root} if not run and _given_up_root(pid, root) else set()
            if start_time(pid) == began:
                seen.append((pid, began, mark, logs))
    # A folder that was moved away while its line ran has left its path to another line.
    away = {mark for _, _, mark, logs in seen if logs and root not in logs}

    def ours(mark: str, logs: set[str]) -> bool:
        theirs, _, path = mark.partition(":")
        if run:
            return theirs == f"{line}.{run}"
        if theirs:
            return (bool(line) and theirs.partition(".")[0] == line) or (path == root and mark not in away)
        return root in logs

    return {pid: began for pid, began, mark, logs in seen if ours(mark, logs)}


def _mark(pid: int) -> str:
    with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
        environment = b"\0" + file.read()
    _, named, rest = environment.partition(b"\0" + MARK.encode() + b"=")
    return os.fsdecode(rest.partition(b"\0")[0]) if named else ""


def _logs(pid: int) -> set[str]:
    """State folders into whose logs a process appends what it prints. Who only reads a log has nothing to do with it."""
    result = set()
    for number in (1, 2):
        with suppress(OSError):
            path = os.readlink(f"/proc/{pid}/fd/{number}").removesuffix(_GONE)  # noqa: PTH115
            folder, logs, name = path.rpartition("/logs/")
            if logs and "/" not in name and name.endswith(".log") and _flags(pid, number) & os.O_APPEND:
                result.add(folder)
    return result


def _flags(pid: int, number: int) -> int:
    with open(f"/proc/{pid}/fdinfo/{number}") as file:  # noqa: PTH123
        for text in file:
            if text.startswith("flags:"):
                return int(text.split()[1], 8)
    return 0


def _given_up_root(pid: int, root: str) -> bool:
    """Where root may not read other accounts' environments (a container), a line's process that has given up root is
    known by its command line."""
    if os.geteuid() != 0:
        return False
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
        words = file.read()
        return os.stat(f"/proc/{pid}").st_uid != 0 and os.fsencode(root + "/") in words  # noqa: PTH116
    return False


def holders(root: str) -> dict[int, bool]:
    """Who holds the lock of a state folder: pid → whether its lock file was removed, with its folder."""
    result = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):
            for number in os.listdir(f"/proc/{name}/fd"):  # noqa: PTH208
                path = os.readlink(f"/proc/{name}/fd/{number}")  # noqa: PTH115
                if path.removesuffix(_GONE) == f"{root}/lock":
                    with open(f"/proc/{name}/fdinfo/{number}") as file:  # noqa: PTH123
                        if "FLOCK" in file.read():
                            result[int(name)] = path.endswith(_GONE)
    return result


def suspended(pid: int) -> bool:
    """Whether a process was stopped (Ctrl-Z)."""
    with suppress(OSError), open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] == "T"
    return False


def sweep(processes: dict[int, str], look: Callable[[], dict[int, str]] = dict) -> None:
    """End these processes and their groups, and whatever `look` finds: once more at the end, as what was just forked
    may have had no mark yet."""

    def alive() -> list[int]:
        return [pid for pid, began in processes.items() if start_time(pid) == began]

    processes = dict(processes)
    leaders = set(processes)
    processes |= look()
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, _KILLED)):
        deadline = time.monotonic() + patience
        for pid in alive():
            for each in (signal.SIGCONT, number):
                _signal(pid, each, processes[pid], pid in leaders)
        while alive() and time.monotonic() < deadline:
            time.sleep(0.02)
    for pid in leaders:  # workers whose master was killed
        if not start_time(pid):
            _signal_group(pid, signal.SIGKILL)
    until = time.monotonic() + (_LATE if processes else 0)
    while time.monotonic() < until + _KILLED:
        left = look()
        if not left and time.monotonic() >= until:
            return
        for pid, began in left.items():
            _signal(pid, signal.SIGKILL, began, False)
        time.sleep(0.02)


def _signal(pid: int, number: int, began: str, group: bool) -> None:
    """A signal to this process, and to no other that has its number by now."""
    with suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if start_time(pid) == began:
                if group:
                    _signal_group(pid, number)
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _signal_group(leader: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    root, line, run = sys.argv[1:4]
    supervisor = os.getppid()
    # The folder, wherever it is moved to.
    folder = -1
    with suppress(OSError):
        folder = os.open(root, os.O_PATH | os.O_DIRECTORY)
    processes: dict[int, str] = {}
    leftovers: list[str] = []
    for said in sys.stdin:
        action, *rest = said.split() or [""]
        if action == "done":
            return
        if action == "+":
            # One that had ended before it was looked at has no start time; its workers may be there all the same.
            processes[int(rest[0])] = rest[1] if len(rest) > 1 else "-"
        elif action == "-":
            processes.pop(int(rest[0]), None)
        elif action == "leftover":
            leftovers.append(said.rstrip("\n").partition(" ")[2])
    # The kernel closes the pipe before the lock, and reparents this process after both: on a busy machine the lock is
    # still the dying supervisor's for a while.
    deadline = time.monotonic() + _KILLED
    while os.getppid() == supervisor and time.monotonic() < deadline:
        time.sleep(0.005)
    # Taken already: the line was started again meanwhile, and what is there is its own.
    lock = _locked(folder)
    with suppress(OSError):
        root = os.readlink(f"/proc/self/fd/{folder}").removesuffix(_GONE)  # noqa: PTH115
    sweep(processes, lambda: found(root, line, "" if lock >= 0 else run))
    if lock >= 0:
        for path in leftovers:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108
        for name in ("state.json", "control.sock", "lock"):
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)


def _locked(folder: int) -> int:
    """The lock of the line, or -1 when there is none to be had."""
    with suppress(OSError):
        lock = os.open("lock", os.O_RDWR, dir_fd=folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return -1
        with suppress(OSError):
            os.pwrite(lock, SWEEPING, 0)
        return lock
    return -1


if __name__ == "__main__":
    main()
