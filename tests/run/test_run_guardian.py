"""The guardian by itself: what it is told, and what it does when nobody tells it anything any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from tierline.run import guardian
from waiting import PATIENCE, eventually
from workbench import HELLO, Bench, of


def _told(root: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", guardian.__file__, str(root), "line", "run"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_a_process_that_ended_at_once_does_not_end_the_guardian(tmp_path: Path) -> None:
    """Its start time can't be read any more: Ctrl-C while a line starts, or an engine that refuses to start."""
    done = _told(tmp_path, "+ 4194305 \ndone\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_it_guards_is_ended_when_the_supervisor_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as guarded:
        began = guardian.start_time(guarded.pid)
        done = _told(tmp_path, f"+ 4194305 \n+ {guarded.pid} {began}\n")
        assert (done.returncode, done.stderr, guarded.wait(PATIENCE)) == (0, "", -15)


def test_sockets_that_killed_processes_leave_elsewhere_are_removed(tmp_path: Path) -> None:
    left, kept = tmp_path / "a socket", tmp_path / "kept"
    for path in (left, kept, tmp_path / "lock"):
        path.touch()
    assert _told(tmp_path, f"leftover {left}\ndone\n").stderr == "" and left.exists(), (
        "who stopped in order did that"
    )
    assert _told(tmp_path, f"leftover {left}\n").stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_killed_supervisor_leaves_no_socket_of_seaweedfs(bench: Callable[..., Bench]) -> None:
    line = bench(
        "from tierline import *\n"
        "stack = Stack('files', services=[Service('hello', 'hello:app', expose=['/'], uses=[Bucket('files')])], zones=['a'])\n",
        hello=HELLO,
    )
    line.up()
    pids = {name for name in of(line.folder)}
    sockets = [Path(found) for pid in pids for found in bound(pid)]
    assert sockets and all(path.exists() for path in sockets)
    os.kill(line.status()["pid"], signal.SIGKILL)
    assert eventually(lambda: not any(path.exists() for path in sockets)), sockets
    assert eventually(lambda: not line.left())


def bound(pid: int) -> list[str]:
    """Sockets of SeaweedFS in /tmp that a process listens on."""
    return [
        each.laddr
        for each in psutil.Process(pid).net_connections("unix")
        if str(each.laddr).startswith("/tmp/seaweedfs-")
    ]


DYING = """
import fcntl, os, subprocess, sys, time
lock = os.open("lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
guardian = subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], os.getcwd(), "line", "run"], stdin=subprocess.PIPE)
guardian.stdin.close()
time.sleep(0.3)  # a busy machine closes the rest of what a killed process had open this much later
"""


def test_the_lock_of_a_supervisor_that_still_dies_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    subprocess.run(
        [sys.executable, "-c", DYING, guardian.__file__], cwd=tmp_path, timeout=PATIENCE, check=True
    )
    assert eventually(lambda: not list(tmp_path.iterdir())), "it took the lock for another supervisor's"
