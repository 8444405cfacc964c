"""The command line: help that says what there is, mistakes that say what to do, exit codes that mean something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workbench import HELLO, ONE, Bench, run

Make = Callable[..., Bench]


def test_help_lists_every_command_with_a_line_each() -> None:
    shown = run("--help").stdout
    import tierline.cli
    from tierline.cli.main import HELPERS

    folder = Path(tierline.cli.__path__[0])
    commands = {path.stem for path in folder.glob("*.py")} - {"__init__", *HELPERS}
    listed = {
        line.split()[0]: line.split(None, 1)[1:]
        for line in shown.partition("Commands:")[2].splitlines()
        if line.strip()
    }
    assert commands <= set(listed)
    assert all(listed[command] for command in commands)
    assert list(listed)[:3] == ["up", "down", "status"]


def test_every_command_has_help() -> None:
    for command in ("up", "down", "status", "logs", "restart", "trip", "plan", "systems", "kill", "token"):
        done = run(command, "--help")
        assert done.returncode == 0
        assert f"Usage: python -m tierline {command}" in done.stdout or "Usage: " in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("upp",), "no command 'upp', did you mean 'up'? there are: "),
        (("up", "--port", "https=70000"), "--port 'https=70000': write https=PORT, http=PORT or dns=PORT"),
        (("up", "--port", "ftp=21"), "write https=PORT"),
        (("up", "--detatch"), "--detach"),
        (("plan", "--lineup", "embeded"), "unknown lineup 'embeded', did you mean 'embedded'?"),
        (("plan", "--use", "gateway=nosuch"), "unknown system 'nosuch' for gateway"),
        (("plan", "--use", "gatway=envoy"), "unknown tier 'gatway', did you mean 'gateway'?"),
        (("trip", "home"), "trip home: write an optional STACK and a path that begins with /"),
        (("trip", "/", "--as", "robot"), "'web', 'mobile', 'affiliate'"),
        (("kill", "planet", "earth"), "'process', 'zone', 'region'"),
        (("status",), "this stack isn't up: start it with tierline up"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_told_with_exit_code_2(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    line = Bench(
        tmp_path, ONE.replace("zones=", "gateway=Gateway(), zones=").replace("import ", "import Gateway, ")
    )
    done = run(*words, cwd=line.folder)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not line.state.exists(), "nothing was started and nothing written"


@pytest.mark.parametrize("command", ["up", "plan", "status", "down"])
def test_a_folder_without_a_stack_is_told(tmp_path: Path, command: str) -> None:
    done = run(command, str(tmp_path))
    assert done.returncode == 2
    assert f"no stack file at {tmp_path}/stack.py" in done.stderr


def test_an_error_in_the_stack_file_is_told_with_its_line_first(tmp_path: Path) -> None:
    line = Bench(tmp_path, "import tierline\n\nprint(tierline.Stack)\n1 / 0\n")
    for words in (("plan",), ("up",), ("up", "--detach")):
        done = line.run(*words)
        assert done.returncode == 2
        assert f"error: {tmp_path}/stack.py:4: ZeroDivisionError: division by zero" in done.stderr
        assert "Traceback" not in done.stderr
        assert "src/tierline" not in done.stderr
    assert not line.state.exists()


def test_the_version_is_the_packages() -> None:
    from importlib.metadata import version

    assert version("tierline") in run("--version").stdout


def test_plan_shows_addresses_once_the_line_is_up(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    assert "http 127.0.0.1:" not in one.run("plan").stdout
    one.up()
    address = one.status()["addresses"]["hello.a/http"]
    assert f"http {address}" in one.run("plan").stdout
    assert one.run("plan", "--svg").stdout.startswith("<svg ")


def test_status_is_a_table_for_people(bench: Make) -> None:
    one = bench(ONE, hello=HELLO)
    one.up()
    shown = one.run("status").stdout
    row = next(line.split() for line in shown.splitlines() if line.strip().startswith("hello.a"))
    assert row[1:3] == ["a", "ready"]
    assert row[-1] == "MB"
    assert "http://127.0.0.1:" in shown


def test_systems_prints_what_would_really_run() -> None:
    import hashlib
    import json

    rows = {row["system"]: row for row in json.loads(run("systems", "--json").stdout)}
    envoy = rows["gateway.envoy"]
    assert "runs" in envoy["levels"]
    assert envoy["version"]
    assert hashlib.sha256(Path(envoy["binary"]).read_bytes()).hexdigest() == envoy["sha256"]
    assert rows["gateway.apigee"]["levels"] == [], "what isn't built yet says so"
