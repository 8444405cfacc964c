"""What each of tierline's own processes does first: no failure to log ends it, and it can be signalled."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tierline.trips.hop import Hop
from tierline.trips.record import Recorder

LOGS = """
import logging, os, signal, sys
from tierline.engines import steady
steady.begin()
os.kill(os.getpid(), signal.SIGHUP)
for stream in (sys.stdout, sys.stderr):
    print("x" * 9000, file=stream, flush=True)
logging.getLogger("any").error("%s", "y" * 9000)
assert sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2
open(sys.argv[1], "w").write(str(steady.lost))
"""


def test_a_log_that_can_not_be_written_ends_nothing(tmp_path: Path) -> None:
    for number, target in enumerate(("/dev/full", "closed")):
        told = tmp_path / str(number)
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            log = full if target == "/dev/full" else None
            close = "" if log else " >&- 2>&-"
            words = f'exec {sys.executable} -c "$0" {told}{close}'
            done = subprocess.run(["sh", "-c", words, LOGS], stdout=log, stderr=log, check=False)
        assert done.returncode == 0
        assert int(told.read_text()) >= 3


def test_what_is_printed_stands_in_the_log_in_its_order() -> None:
    words = [
        sys.executable,
        "-c",
        "from tierline.engines import steady as s; s.begin(); print('a'); print('\\udcff', end='')",
    ]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"a\n\\udcff"


def test_a_signal_before_the_first_line_waits_until_it_is_handled() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", "from tierline.engines import steady; steady.begin(); print('well')"],
            stdout=subprocess.PIPE,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30)[0] == b"well\n" and process.returncode == 0


def test_spans_that_can_not_be_written_are_counted() -> None:
    recorder = Recorder("/dev/full")
    for _ in range(300):
        recorder.write(Hop(status=200, trace="a" * 32, span="b" * 16, tier="feature", system="x"))
    recorder.event({"event": "bought"})
    recorder.flush()
    assert (recorder.lost, recorder.problem) == (301, "No space left on device")


def test_spans_after_a_torn_line_are_whole(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "hops.jsonl")
    recorder._torn = True
    recorder.event({"event": "bought"})
    assert (tmp_path / "hops.jsonl").read_text().splitlines()[0] == ""


def test_spans_are_written_once_there_is_a_folder(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "hops" / "hops.jsonl")
    recorder.event({"event": "lost"})
    (tmp_path / "hops").mkdir()
    recorder.event({"event": "kept"})
    assert recorder.lost == 1
    assert "kept" in (tmp_path / "hops" / "hops.jsonl").read_text()
