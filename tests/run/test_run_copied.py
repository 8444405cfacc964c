"""State folders that were copied or damaged: one sentence that names what is wrong, and the way out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tierline.errors import RunError
from tierline.run.state import State
from workbench import HELLO, ONE, Bench

Make = Callable[..., Bench]

DATA = """
from tierline import Relational, Service, Stack
hello = Service("hello", "hello:app", uses=[Relational("films")], expose=["/"])
stack = Stack("copied", services=[hello], zones=["a"])
"""


def copied(line: Bench, name: str) -> Bench:
    shutil.copytree(line.folder, line.folder.with_name(name))
    return Bench(line.folder.with_name(name))


def refused(line: Bench) -> str:
    done = line.run("up", "--detach")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert line.left() == []
    assert line.down().stdout == "was not up\n"
    return done.stderr


def test_secrets_that_are_lost_are_named(bench: Make) -> None:
    line = bench(ONE, hello=HELLO)
    line.up()
    line.down()
    secrets = line.state / "secrets.json"
    whole = secrets.read_bytes()
    way = "put the file back from a copy, or remove the data that it opens with tierline down --volumes"
    for text, why in (
        (whole[:20], "is damaged: its 20 bytes are no JSON object"), (b"", "is empty"), (b"[1]", "is damaged"),
        (b'{"a": 1}', "is damaged"), (os.urandom(50), "is damaged"),
    ):  # fmt: skip
        secrets.write_bytes(text)
        said = refused(line)
        assert f"{secrets} {why}" in said and way in said
    secrets.unlink()
    assert f"{secrets} is gone, and there is data that was made with its secrets: {way}" in refused(line)
    secrets.mkdir()
    assert f"{secrets} can't be read (Is a directory): {way}" in refused(line)
    secrets.rmdir()
    secrets.write_bytes(whole)
    line.up()
    line.down("--volumes")
    line.up()


def test_a_copy_at_another_path_runs_with_a_note(bench: Make) -> None:
    line = bench(ONE, hello=HELLO)
    assert "copy" not in line.up().stdout
    line.down()
    copy = copied(line, "copy")
    said = copy.up().stdout
    assert f"note: .tierline: it is a copy of {line.state}, with its data, secrets and certificates" in said
    assert "tierline down --volumes" in said
    copy.down()
    assert "is a copy" not in copy.up().stdout, "once"
    copy.close()


if os.geteuid() == 0:

    def test_another_owners_folder_is_named(bench: Make) -> None:
        line = bench(ONE, hello=HELLO)
        line.state.mkdir(mode=0o700)
        os.chown(line.state, 65534, 65534)
        said = refused(line)
        assert (
            f"{line.state}: this state folder belongs to nobody: run tierline as nobody, or move the folder away"
            in said
        )
        os.chown(line.state, 4242, 4242)
        assert "belongs to the user with the id 4242" in refused(line)

    def test_data_that_was_copied_without_its_owners_is_named(bench: Make) -> None:
        line = bench(DATA, hello=HELLO)
        line.up()
        line.down()
        copy = copied(line, "copy")  # as root's `cp -r` does
        said = refused(copy)
        assert "data/postgresql/cluster doesn't belong to the account that postgresql runs as" in said
        assert "cp -a" in said and "tierline down --volumes" in said


def test_what_is_no_state_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "stack.py").touch()
    (tmp_path / ".tierline").mkdir()
    (tmp_path / ".tierline" / "version").write_bytes(os.urandom(20))
    with pytest.raises(RunError, match="has layout"):
        State(tmp_path / "stack.py").open()
