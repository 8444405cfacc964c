"""The guardian by itself: what it is told, and what it does when nobody tells it anything any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tierline.run import guardian
from waiting import PATIENCE, eventually


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
