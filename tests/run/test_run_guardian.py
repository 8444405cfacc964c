"""The guardian by itself: what it is told, and what it does when nobody tells it anything any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tierline.run import guardian


def _told(root: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", guardian.__file__, str(root), "line", "run"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=20, check=False)


def test_a_process_that_ended_at_once_does_not_end_the_guardian(tmp_path: Path) -> None:
    """Its start time can't be read any more: Ctrl-C while a line starts, or an engine that refuses to start."""
    done = _told(tmp_path, "+ 4194305 \ndone\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_it_guards_is_ended_when_the_supervisor_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as guarded:
        began = guardian.start_time(guarded.pid)
        done = _told(tmp_path, f"+ 4194305 \n+ {guarded.pid} {began}\n")
        assert (done.returncode, done.stderr, guarded.wait(5)) == (0, "", -15)
