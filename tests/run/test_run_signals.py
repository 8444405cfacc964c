"""Signals at any moment: to what starts, to the supervisor, to whoever waits for it; nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import httpx
import pytest

from waiting import PATIENCE
from workbench import HELLO, ONE, TIERLINE, Bench, alive, eventually, of

Make = Callable[..., Bench]

SLOW = "import time\ntime.sleep(2)\n" + HELLO
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def up(line: Bench, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*TIERLINE, "up", str(line.folder), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def phase(line: Bench) -> str:
    done = line.run("status", "--json")
    return str(__import__("json").loads(done.stdout)["phase"]) if done.returncode == 0 else ""


PHASES: dict[str, Callable[[Bench], object]] = {
    "lock": lambda line: (line.state / "lock").exists(),
    "guardian": lambda line: any("guardian.py" in words for words in of(line.folder).values()),
    "process": lambda line: any("engines.python" in words for words in of(line.folder).values()),
    "ready": lambda line: phase(line) == "ready",
}


@pytest.mark.parametrize("when", PHASES)
def test_a_line_is_stopped_at_any_moment_of_its_start(bench: Make, when: str) -> None:
    line = bench(ONE, hello=SLOW)
    for number in STOPPING:
        process = up(line)
        assert eventually(lambda: PHASES[when](line), every=0.002)
        process.send_signal(number)
        process.send_signal(number)  # one who is impatient
        assert process.wait(PATIENCE) == 0, (when, number)
        assert line.left() == [], (when, number)


def test_a_second_signal_while_it_stops_changes_nothing(bench: Make) -> None:
    line = bench(ONE, hello=HELLO)
    process = up(line)
    assert eventually(lambda: phase(line) == "ready")
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.005)  # slow: as impatient as a person
    assert process.returncode == 0
    assert line.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_start_that_nobody_waits_for_any_more_is_stopped(bench: Make, number: signal.Signals) -> None:
    line = bench(ONE, hello=SLOW)
    process = up(line, "--detach")
    assert eventually(lambda: PHASES["process"](line), every=0.01)
    process.send_signal(number)
    process.wait(PATIENCE)
    assert eventually(lambda: line.left() == []), line.left()


def test_a_reader_of_one_line_does_not_end_the_line(bench: Make) -> None:
    line = bench(ONE, hello=HELLO)
    with subprocess.Popen(
        f"{' '.join(TIERLINE)} up {line.folder} | head -1",
        shell=True,
        text=True,
        stdout=-1,
        stderr=-1,
        start_new_session=True,
    ) as shell:
        assert eventually(lambda: phase(line) == "ready")
        pid = line.status()["pid"]
        os.kill(line.process("hello.a")["pid"], signal.SIGKILL)  # something to show
        assert eventually(lambda: line.process("hello.a")["restarts"] == 1)
        os.kill(pid, signal.SIGINT)
        _, said = shell.communicate(timeout=PATIENCE)
    assert said == ""
    assert line.left() == []


def test_a_suspended_supervisor_says_so_and_goes_on(bench: Make) -> None:
    line = bench(ONE, hello=HELLO)
    process = up(line)
    assert eventually(lambda: phase(line) == "ready")
    url, pid = line.status()["urls"]["http"], line.status()["pid"]
    process.send_signal(signal.SIGSTOP)
    done = line.run("status")
    assert done.returncode == 2 and f"the supervisor (pid {pid}) is suspended" in done.stderr
    assert httpx.get(url).status_code == 200
    process.send_signal(signal.SIGCONT)
    os.kill(line.process("hello.a")["pid"], signal.SIGKILL)
    assert eventually(lambda: line.process("hello.a")["restarts"] == 1)
    process.send_signal(signal.SIGSTOP)
    assert line.down().stdout == "stopped\n"
    assert process.wait(PATIENCE) == 0
    assert line.left() == []


def test_a_process_that_still_starts_survives_a_sighup(bench: Make) -> None:
    line = bench(ONE, hello=SLOW)
    process = up(line)
    assert eventually(lambda: PHASES["process"](line), every=0.002)
    pids = [pid for pid, words in of(line.folder).items() if ".engines." in words]
    while phase(line) != "ready":  # from its first instruction on
        for pid in pids:
            os.kill(pid, signal.SIGHUP)
    assert all(map(alive, pids))
    assert {each["restarts"] for each in line.status()["processes"]} == {0}
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)


def test_heal_returns_when_what_it_heals_answers(bench: Make) -> None:
    line = bench(ONE, hello=SLOW)
    line.up()
    url = line.status()["urls"]["http"]
    for words in (("kill", "zone", "a"), ("hang", "hello.a"), ("kill", "hello.a")):
        assert subprocess.run([*TIERLINE, *words, str(line.folder)], capture_output=True, check=True)
        healed = subprocess.run(
            [*TIERLINE, "heal", *words[1:], str(line.folder)], capture_output=True, text=True, check=True
        )
        assert healed.stdout == "heal: hello.a; ready again\n"
        assert httpx.get(url).status_code == 200
    (line.folder / "hello.py").write_text("raise ValueError('no more')\n")
    subprocess.run([*TIERLINE, "kill", "hello.a", str(line.folder)], capture_output=True, check=True)
    healed = subprocess.run(
        [*TIERLINE, "heal", "hello.a", str(line.folder)], capture_output=True, text=True, check=False
    )
    assert healed.returncode == 2
    assert "ValueError: no more" in healed.stderr.splitlines()[0]
