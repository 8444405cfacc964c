"""What a dead supervisor has left is found and ended whatever the state folder says, and nothing else is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tierline.errors import RunError
from tierline.run.state import State
from waiting import PATIENCE
from workbench import HELLO, ONE, TIERLINE, Bench, alive, eventually, of

Make = Callable[..., Bench]

DAEMON = (
    "import subprocess\n"
    "kept = subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=-3, stderr=-3, cwd='/')\n"
    "open('daemon', 'w').write(str(kept.pid))\n"
) + HELLO
"""An application that starts something which has left its process group and its log."""


@pytest.fixture
def one(bench: Make) -> Iterator[Bench]:
    made = bench(ONE, hello=DAEMON)
    made.up()
    yield made


def processes(line: Bench) -> set[int]:
    """All of a line but its supervisor and its guardian."""
    told = line.status()
    return {each["pid"] for each in told["processes"]} | {int((line.folder / "daemon").read_text())}


def orphan(line: Bench) -> set[int]:
    """Kill the supervisor and the guardian, so that nobody ends what they have started. What is left."""
    supervisor, left = line.status()["pid"], processes(line)
    (guardian,) = (pid for pid, words in of(line.folder).items() if "guardian.py" in words)
    os.kill(guardian, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    os.kill(guardian, signal.SIGKILL)
    assert eventually(lambda: not alive(supervisor) and not alive(guardian))
    assert all(map(alive, left))
    return left


def gone(pids: set[int]) -> bool:
    return bool(eventually(lambda: not any(map(alive, pids))))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "what").touch()


SPOILT: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "binary": lambda path: path.write_bytes(os.urandom(999)),
    "another version's": lambda path: path.write_text(
        '{"pid": 1, "guarded": {"a": 5}, "line": 7, "boot": []}'
    ),
    "no object": lambda path: path.write_text("[1, 2]"),
    "a folder": folder,
    "removed": lambda path: path.unlink(),
}


def test_up_finds_what_is_left_whatever_the_state_says(one: Bench) -> None:
    for name, spoil in SPOILT.items():
        left = orphan(one)
        spoil(one.state / "state.json")
        one.up()
        assert gone(left), name
    left = orphan(one)
    folder(one.state / "state.json")
    (one.state / "line").write_bytes(b"\xff\0")
    said = one.down().stdout
    assert said.startswith("was not up; ") and said.endswith(" processes that it had left were ended\n")
    assert gone(left)
    assert one.left() == []


def test_what_no_supervisor_knows_yet_ends_with_it(one: Bench) -> None:
    """A process that was forked in the moment in which the supervisor was killed: the guardian was told of none."""
    environment = Path(f"/proc/{one.process('hello.a')['pid']}/environ").read_bytes().split(b"\0")
    mark = next(each for each in environment if each.startswith(b"TIERLINE_LINE="))
    with subprocess.Popen(
        ["sleep", "600"], env={"TIERLINE_LINE": mark.decode().partition("=")[2]}, start_new_session=True
    ) as young:
        left = processes(one)
        os.kill(one.status()["pid"], signal.SIGKILL)
        assert young.wait(PATIENCE) in (-signal.SIGTERM, -signal.SIGKILL)
    assert gone(left)
    assert eventually(lambda: one.left() == [])


def test_a_line_whose_folder_is_moved_is_found_there(one: Bench) -> None:
    left = processes(one)
    there = one.folder.with_name("moved")
    one.folder.rename(there)
    moved = Bench(there)
    assert moved.status()["phase"] == "ready"
    assert eventually(lambda: f"it was moved to {there}" in str(moved.status()["unwritten"]))
    # A stack that takes the old place is another one.
    again = Bench(one.folder, ONE, {"hello": HELLO})
    again.up()
    again.down()
    assert all(map(alive, left))
    assert moved.down().stdout == "stopped\n"
    assert gone(left)
    assert moved.left() == [] and again.left() == []


def test_a_moved_line_that_nobody_supervises_is_found_there(one: Bench) -> None:
    left = orphan(one)
    there = one.folder.with_name("moved")
    one.folder.rename(there)
    assert "processes that it had left were ended" in Bench(there).down().stdout
    assert gone(left)


def test_a_state_folder_that_is_removed_while_the_line_runs(one: Bench) -> None:
    left = processes(one)
    shutil.rmtree(one.state, ignore_errors=True)  # it is being written to
    again = one.run("up", "--detach")
    assert again.returncode == 2 and "this stack is already up (supervisor " in again.stderr
    assert eventually(lambda: (one.state / "control.sock").exists())
    assert "restored" in {event["what"] for event in one.status()["events"]}
    assert one.down().stdout == "stopped\n"
    assert gone(left)
    one.up()
    left = orphan(one)
    shutil.rmtree(one.state, ignore_errors=True)  # it is being written to
    assert "processes that it had left were ended" in one.down().stdout
    assert gone(left)
    one.up()


def test_a_copy_of_a_running_line_leaves_it_alone(one: Bench) -> None:
    left = processes(one)
    copied = one.folder.with_name("copied")
    shutil.copytree(
        one.folder, copied, ignore=lambda _, names: {name for name in names if name.endswith(".sock")}
    )
    copy = Bench(copied)
    assert copy.down().stdout == "was not up\n"
    copy.up()
    assert not processes(copy) & left
    copy.down()
    assert all(map(alive, left)) and one.status()["phase"] == "ready"


def test_who_only_reads_a_log_is_left_alone(one: Bench) -> None:
    with subprocess.Popen(
        ["tail", "-f", str(one.state / "logs" / "hello.a.log")], stdout=-3, cwd=one.state
    ) as reader:
        one.down()
        assert reader.poll() is None
        reader.kill()


def test_only_who_holds_the_lock_removes_it(one: Bench) -> None:
    second = State(one.folder / "stack.py")
    with pytest.raises(RunError, match=r"already up"):
        second.open()
    second.close()
    assert (one.state / "lock").exists() and (one.state / "control.sock").exists()
    assert one.status()["phase"] == "ready"


def test_of_two_that_start_at_once_one_wins(bench: Make) -> None:
    made = bench(ONE, hello=HELLO)
    words = [*TIERLINE, "up", str(made.folder), "--detach"]
    several = [subprocess.Popen(words, stdout=-1, stderr=-1, text=True) for _ in range(3)]
    said = [each.communicate(timeout=60)[1] for each in several]
    codes = sorted(each.returncode for each in several)
    assert codes == [0, 2, 2], said
    assert sum("this stack is already up" in each for each in said) == 2
    assert made.status()["phase"] == "ready"


def test_up_while_it_goes_down_leaves_nothing(one: Bench) -> None:
    for _ in range(2):
        downs = [
            subprocess.Popen([*TIERLINE, "down", str(one.folder)], stdout=-1, stderr=-1) for _ in range(2)
        ]
        ups = [
            subprocess.Popen([*TIERLINE, "up", "--detach", str(one.folder)], stdout=-1, stderr=-1)
            for _ in range(2)
        ]
        for each in (*downs, *ups):
            each.communicate(timeout=60)
        assert {each.returncode for each in downs} == {0}
        assert {each.returncode for each in ups} <= {0, 2}
        one.down()
        assert one.left() == []
        one.up()
