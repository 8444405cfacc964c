"""Commands that were given nothing, or not enough: what there is, and what to write next."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from waiting import eventually
from workbench import HELLO, TIERLINE, Bench, run

STACK = """
from tierline import Cache, Gateway, LoadBalancer, Queue, Season, Service, Stack, Visit

hot, work = Cache("hot"), Queue("work")
stack = Stack(
    "manners",
    lb=LoadBalancer(),
    gateway=Gateway(),
    services=[
        Service("hello", "hello:app", uses=[hot], expose=["/hello"]),
        Service("work", "hello:app", uses=[work], expose=["/work"], fuse=False),
    ],
    seasons=[Season("sale", min=2)],
    workload=[Visit("/hello/{3..9}")],
    zones=["a"],
)
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("manners"), STACK, {"hello": HELLO})
    made.up()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("command", ["kill", "hang", "delay", "restart"])
@pytest.mark.parametrize("inside", [True, False])
def test_without_a_name_what_there_is_is_listed_by_tier(line: Bench, command: str, inside: bool) -> None:
    done = run(command, cwd=line.folder) if inside else run(command, str(line.folder))
    assert done.returncode == 2
    assert f"{command} what?" in done.stderr
    listed = {row.split()[0]: row.split(None, 1)[1] for row in done.stderr.splitlines()[1:]}
    assert listed["lb"] == "lb (lb.a)"
    assert "hello (hello.a)" in listed["feature"]
    assert listed["core"] == "hot"
    assert "nats" in listed["processes"]
    assert listed["zone"] == "a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kill", "hallo"], "no part 'hallo', did you mean 'hello'?"),
        (["kill", "zone", "z"], "no process is in zone 'z'; there are: a"),
        (["delay", "hello"], "how long? tierline delay hello 200ms"),
        (["delay", "200ms", "hello"], "NAME comes first"),
        (["delay", "hello", "200"], "that is 200 s; more than 0 and up to 60s are allowed, such as 200ms"),
        (["trip"], "this stack answers /hello/3"),
        (["trip", "hello/3"], "did you mean '/hello/3'?"),
        (["scale"], "scale what?"),
        (["scale", "hello"], "scale hello: give a number of instances per zone"),
        (["season", "sale"], "season sale: write tierline season sale start, or end"),
        (["season", "sales", "start"], "no season 'sales', did you mean 'sale'?"),
        (["token", "--claim", "scope"], "--claim 'scope': write NAME=VALUE"),
        (["logs", "hallo"], "did you mean 'hello.a'?"),
        (["systems", "lbb"], "no tier 'lbb', did you mean 'lb'?"),
        (["compare"], "name two lineups"),
        (["journey"], "journey: which one?"),
        (["up", "--detatch"], "No such option '--detatch'. Did you mean '--detach'?"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_told_with_what_to_write_instead(
    line: Bench, words: list[str], said: str
) -> None:
    done = run(*words, cwd=line.folder)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert "python -m" not in done.stderr
    assert "Traceback" not in done.stderr


def test_heal_without_a_name_lists_what_is_broken(line: Bench) -> None:
    assert run("heal", cwd=line.folder).stdout == "nothing is killed, hung or delayed\n"
    assert "until tierline heal lb" in run("hang", "lb", cwd=line.folder).stdout
    run("delay", "hot", "200ms", "--jitter", "50ms", cwd=line.folder)
    run("kill", "nats", cwd=line.folder)
    assert [row.split(None, 1) for row in run("heal", cwd=line.folder).stdout.splitlines()] == [
        [name, said.ljust(28) + f"tierline heal {name}"]
        for name, said in (("lb.a", "hung"), ("valkey", "delayed by 200 ms ± 50 ms"), ("nats", "killed"))
    ]
    assert line.process("lb.a")["phase"] == "hung"
    for name in ("lb", "hot", "nats"):
        assert run("heal", name, cwd=line.folder).stdout.startswith("heal: ")
    assert run("heal", "lb", cwd=line.folder).stdout == "nothing of lb was killed, hung or delayed: lb.a\n"


def test_a_service_comes_before_a_queue_that_is_called_the_same(line: Bench) -> None:
    assert run("delay", "work", "10ms", cwd=line.folder).stdout.startswith("delay 10ms: work.a; until")
    run("heal", "work", cwd=line.folder)


def test_who_shares_a_process_is_told(line: Bench) -> None:
    said = run("hang", "hello.a", cwd=line.folder).stdout
    run("heal", "hello.a", cwd=line.folder)
    assert "in the same process" not in said


def test_seasons_are_listed_whether_the_line_is_up_or_not(line: Bench, tmp_path: Path) -> None:
    assert run("season", cwd=line.folder).stdout == "sale: not on, at least 2 in each zone\n"
    other = Bench(tmp_path, STACK, {"hello": HELLO})
    said = run("season", str(other.folder)).stdout
    assert said.split()[0] == "sale"
    assert "the line isn't up" in said


def test_a_logs_name_may_be_a_service_or_a_resource(line: Bench) -> None:
    assert "valkey │ " in run("logs", "hot", cwd=line.folder).stdout


def test_plan_shows_addresses_of_the_lineup_that_runs_only(line: Bench) -> None:
    assert "127.0.0.1:" in run("plan", cwd=line.folder).stdout
    assert "127.0.0.1:" not in run("plan", "--use", "lb=envoy", cwd=line.folder).stdout


def test_metrics_have_no_status_0(line: Bench) -> None:
    line.trip("/hello/3")
    assert eventually(lambda: 'status="200"' in run("metrics", cwd=line.folder).stdout)
    assert 'status="0"' not in run("metrics", cwd=line.folder).stdout


def test_no_command_is_help(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.startswith("Usage: tierline ")
    assert done.stderr == ""


@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}])
def test_colours_are_for_terminals_that_want_them(line: Bench, more: dict[str, str]) -> None:
    """On a terminal of forty columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm", **more}
    with subprocess.Popen(
        [*TIERLINE, "trip", "/hello/3"], stdout=theirs, stderr=theirs, env=environment, cwd=line.folder
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                said += chunk
        except OSError:  # it has ended
            pass
    os.close(ours)
    assert process.returncode == 0
    assert (b"\x1b[" in said) is not bool(more)


def test_a_pipe_that_closes_early_is_no_error(line: Bench) -> None:
    done = subprocess.run(
        f"{' '.join(TIERLINE)} plan --json | head -1", shell=True, capture_output=True, text=True, cwd=line.folder,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_a_tour_needs_no_words(tmp_path: Path) -> None:
    line = Bench(tmp_path, STACK, {"hello": HELLO})
    done = run("demo", "--regions", "eu-west-1", "--seconds", "3", cwd=line.folder, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "2  /hello/3 from the client" in done.stdout
    assert "3  kill -9 gateway.a while" in done.stdout
    assert line.left() == []
    line.close()
