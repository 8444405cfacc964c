"""What dies is started again, what dies again and again is told, and nothing outlives its line."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from waiting import PATIENCE, eventually, never
from workbench import HELLO, ONE, Bench, alive, of, run

Make = Callable[..., Bench]

FRAIL = (
    HELLO
    + """
import os, sys
if os.path.exists("broken"):
    print("the cellar is flooded", file=sys.stderr)
    raise SystemExit(7)
"""
)


@pytest.fixture
def one(bench: Make) -> Iterator[Bench]:
    """A small line that is up."""
    made = bench(ONE, hello=FRAIL)
    made.up()
    yield made
    (made.folder / "broken").unlink(missing_ok=True)


def answers(bench: Bench) -> bool:
    try:
        url = bench.status()["urls"]["http"]
        return httpx.get(url, timeout=PATIENCE).status_code == 200
    except httpx.HTTPError:
        return False


def guardians(bench: Bench) -> list[int]:
    return [pid for pid, line in of(bench.folder).items() if "guardian.py" in line]


def ready(bench: Bench, name: str = "hello.a") -> bool:
    return bool(bench.process(name)["phase"] == "ready")


# Crashes -----------------------------------------------------------------------------------------------------


def test_what_crashes_is_started_again_at_once(one: Bench) -> None:
    before = one.process("hello.a")
    url = one.status()["urls"]["http"]
    os.kill(before["pid"], signal.SIGKILL)

    def answers_again() -> bool:
        try:
            return httpx.get(url, timeout=PATIENCE).status_code == 200
        except httpx.HTTPError:
            return False

    assert eventually(answers_again, every=0.02)
    after = one.process("hello.a")
    assert (after["phase"], after["restarts"]) == ("ready", 1)
    assert after["pid"] != before["pid"]


def test_a_crash_loop_backs_off_and_is_told_with_the_last_lines_of_the_log(one: Bench) -> None:
    (one.folder / "broken").touch()
    began = time.monotonic()
    os.kill(one.process("hello.a")["pid"], signal.SIGKILL)
    assert eventually(lambda: one.process("hello.a")["phase"] == "failed")
    assert time.monotonic() - began > 1.0, "it was tried again without a pause"
    told = one.process("hello.a")
    assert told["problem"].startswith("crash loop: 5 crashes in a row, the last after ")
    assert "| the cellar is flooded" in told["problem"]
    assert told["pid"] == 0
    assert "crash loop" in one.run("status").stdout
    assert ready(one, "telemetry"), "one that fails takes nobody with it"

    # Mended, a restart brings it back.
    (one.folder / "broken").unlink()
    done = run("restart", "hello", str(one.folder))
    assert done.returncode == 0, done.stderr
    assert answers(one)
    assert one.process("hello.a")["problem"] == ""


def test_restart_gives_a_new_process_and_is_no_crash(one: Bench) -> None:
    pids = {one.process("hello.a")["pid"]}
    for _ in range(6):  # more than make a crash loop
        done = run("restart", "hello.a", str(one.folder))
        assert done.returncode == 0, done.stderr
        told = one.process("hello.a")
        assert done.stdout == f"hello.a is ready again, pid {told['pid']}\n"
        pids.add(told["pid"])
    assert len(pids) == 7
    assert one.process("hello.a")["restarts"] == 0


def test_restart_of_what_can_not_start_tells_its_log(one: Bench) -> None:
    (one.folder / "broken").touch()
    done = run("restart", "hello", str(one.folder))
    assert done.returncode == 2
    assert "the cellar is flooded" in done.stderr


def test_restart_of_what_is_not_there_names_the_nearest(one: Bench) -> None:
    done = run("restart", "helo.a", str(one.folder))
    assert done.returncode == 2
    assert "no part 'helo.a', did you mean 'hello.a'? there are: hello, hello.a, telemetry" in done.stderr


def test_what_is_killed_on_purpose_stays_away_until_it_is_healed(one: Bench) -> None:
    said = run("kill", "zone", "a", str(one.folder)).stdout
    assert said == f"kill: hello.a; until tierline heal zone a {one.folder}\n"
    assert eventually(lambda: one.process("hello.a")["phase"] == "killed")
    assert never(lambda: answers(one))
    assert run("heal", "zone", "a", str(one.folder)).stdout == "heal: hello.a; ready again\n"
    assert eventually(lambda: ready(one))
    assert answers(one)
    assert one.process("hello.a")["restarts"] == 0
    done = run("kill", "zone", "x", str(one.folder))
    assert (done.returncode, done.stderr) == (2, "error: no process is in zone 'x'; there are: a\n")


def test_what_hangs_answers_nothing_until_it_is_healed(one: Bench) -> None:
    run("hang", "process", "hello.a", str(one.folder))
    url = one.status()["urls"]["http"]
    with pytest.raises(httpx.TimeoutException):
        httpx.get(url, timeout=0.5)
    run("heal", "process", "hello.a", str(one.folder))
    assert answers(one)


# The supervisor and the guardian -----------------------------------------------------------------------------


def test_nothing_outlives_a_supervisor_that_is_killed(one: Bench) -> None:
    os.kill(one.status()["pid"], signal.SIGKILL)
    assert eventually(lambda: not one.left()), one.left()
    done = one.run("status")
    assert done.returncode == 2
    assert "isn't up" in done.stderr
    one.up()
    assert answers(one)


def test_up_right_after_the_supervisor_was_killed_works_and_is_not_swept_away(one: Bench) -> None:
    old = [each["pid"] for each in one.status()["processes"]]
    guards = guardians(one)
    os.kill(one.status()["pid"], signal.SIGKILL)
    one.up()
    assert not any(alive(pid) for pid in old)
    assert eventually(lambda: not any(alive(pid) for pid in guards)), "the old guardian has done its work"
    assert answers(one)
    assert all(each["phase"] == "ready" and each["restarts"] == 0 for each in one.status()["processes"])


def test_nothing_outlives_a_supervisor_that_is_killed_while_starting(bench: Make) -> None:
    slow = bench(ONE, hello="import time\ntime.sleep(30)\n")
    import subprocess

    from workbench import TIERLINE

    process = subprocess.Popen([*TIERLINE, "up", str(slow.folder)], stdout=subprocess.DEVNULL)
    assert eventually(lambda: len(of(slow.folder)) >= 4)
    process.kill()
    process.wait()
    assert eventually(lambda: not slow.left()), slow.left()


def test_a_guardian_that_is_killed_is_replaced_and_the_new_one_guards(one: Bench) -> None:
    (first,) = guardians(one)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: [pid for pid in guardians(one) if pid != first and alive(pid)])
    os.kill(one.status()["pid"], signal.SIGKILL)
    assert eventually(lambda: not one.left()), one.left()


@pytest.mark.parametrize("command", ["up", "down"])
def test_what_supervisor_and_guardian_left_is_ended_by_the_next_command(one: Bench, command: str) -> None:
    told = one.status()
    supervisor = psutil.Process(told["pid"])
    supervisor.suspend()  # so that it can't replace its guardian
    for pid in guardians(one):
        os.kill(pid, signal.SIGKILL)
    supervisor.kill()
    pids = [each["pid"] for each in told["processes"]]
    assert all(alive(pid) for pid in pids), "nobody was there to end them"
    if command == "up":
        one.up()
        assert answers(one)
    else:
        one.down()
        assert one.left() == []
    assert not any(alive(pid) for pid in pids)


def test_down_ends_a_supervisor_that_does_not_answer(one: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from tierline.cli import down

    monkeypatch.setattr(down, "_PATIENCE", 1.0)
    psutil.Process(one.status()["pid"]).suspend()
    done = CliRunner().invoke(down.command, [str(one.folder)], catch_exceptions=False)
    assert done.output == "stopped\n"
    assert eventually(lambda: not one.left()), one.left()


def test_many_that_look_never_keep_a_line_from_starting(bench: Make) -> None:
    """`status` looks at the lock; looking must not be mistaken for a line that is up."""
    from tierline.run.state import State

    made = bench(ONE, hello=HELLO)
    state = State(made.folder / "stack.py")
    for _ in range(200):
        state.open()
        assert State(made.folder / "stack.py").held()
        state.close()
        assert not State(made.folder / "stack.py").held()
    assert made.left() == []


def test_a_stranger_on_the_control_socket_is_answered_and_harms_nothing(one: Bench) -> None:
    import json
    import socket

    def said(raw: bytes) -> Any:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(one.state / "control.sock"))
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            return json.loads(client.makefile().readline())

    for raw in (
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b'{"do": "dance"}\n',
        b'{"do": "restart"}\n',
        b"x" * 100_000 + b"\n",
    ):
        assert said(raw)["ok"] is False, raw[:40]
    assert Path(one.state / "control.sock").exists()
    assert answers(one)
