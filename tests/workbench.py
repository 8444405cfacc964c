"""A stack in a folder of its own, and the command line on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from waiting import PATIENCE, eventually

TIERLINE = (sys.executable, "-m", "tierline")

HELLO = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello from " + body})
"""
"""The smallest application."""

ONE = """
from tierline import Service, Stack
stack = Stack("one", services=[Service("hello", "hello:app", expose=["/"])], zones=["a"])
"""
"""The smallest line: one service, one zone, telemetry."""


class Bench:
    """See the module. `stack` None: the folder has one. `files`: more of the folder; `hello` writes hello.py."""

    def __init__(
        self, folder: Path, stack: str | None = None, files: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.state = folder / ".tierline"
        folder.mkdir(parents=True, exist_ok=True)
        if stack is not None:
            (folder / "stack.py").write_text(textwrap.dedent(stack))
        for name, text in (files or {}).items():
            (folder / (name if "." in name else f"{name}.py")).write_text(textwrap.dedent(text))

    def run(self, command: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """`tierline COMMAND FOLDER …`, where the stack is the first argument."""
        return run(command, str(self.folder), *words, **more)

    def up(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """`up --detach`, which must succeed."""
        done = self.run("up", "--detach", *words, **more)
        assert done.returncode == 0, done.stderr
        return done

    def down(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = self.run("down", *words)
        assert done.returncode == 0, done.stderr
        return done

    def status(self) -> dict[str, Any]:
        done = self.run("status", "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def trip(self, path: str, *words: str) -> dict[str, Any]:
        done = run("trip", str(self.folder), path, "--json", *words)
        assert done.returncode == 0, done.stderr
        trip: dict[str, Any] = json.loads(done.stdout)
        return trip

    def process(self, name: str) -> dict[str, Any]:
        """One process of `status`."""
        return next(each for each in self.status()["processes"] if each["name"] == name)

    def log(self, name: str) -> str:
        return (self.state / "logs" / f"{name}.log").read_text()

    def left(self) -> list[str]:
        """What still runs or lies about of this stack: processes, sockets, locks."""
        found = [f"process {pid}: {what}" for pid, what in of(self.folder).items()]
        for name in ("lock", "state.json", "control.sock"):
            if (self.state / name).exists():
                found.append(name)
        return found

    def close(self) -> None:
        """End everything by whatever it takes, then say whether anything had to be ended by force."""
        if (self.state / "version").is_file():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.run("down")
        # PostgreSQL's processes end by themselves a moment after their parent.
        eventually(lambda: not of(self.folder), within=10)
        left = of(self.folder)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"left running: {left}"


def run(
    *words: str,
    timeout: float = 2 * PATIENCE,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    **more: Any,
) -> subprocess.CompletedProcess[str]:
    """`tierline WORDS`."""
    return subprocess.run(
        [*TIERLINE, *words], capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd,
        env={**os.environ, **(env or {})}, **more,
    )  # fmt: skip


def of(folder: Path) -> dict[int, str]:
    """Processes that have to do with a folder: by command line, working directory or environment."""
    wanted = str(folder).encode()
    found = {}
    for each in Path("/proc").iterdir():
        if not each.name.isdigit() or int(each.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            line = (each / "cmdline").read_bytes()
            if line and (wanted in line or str(folder) in os.readlink(each / "cwd")):  # noqa: PTH115
                found[int(each.name)] = line.replace(b"\0", b" ").decode(errors="replace")[:200]
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
