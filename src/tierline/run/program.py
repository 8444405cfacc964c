"""The programs of one process: started with its environment and account, in its folders, with its log.

Besides the program itself there are steps before and after its start, its checker, and what drains it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from tierline.engines.base import Process, Step
from tierline.errors import EngineError, RunError
from tierline.run.raw import blamed
from tierline.run.state import State, write
from tierline.run.voice import VARIABLE, Voice

_UNPRIVILEGED = str(Path(__file__).parents[1] / "engines" / "unprivileged.py")

_FRAME = re.compile(r"#\d+:? .*\[?0x[0-9a-f]{6,}")
_EXCEPTION = re.compile(
    r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)\b|[a-z_]+(\.\w+)*\.[A-Z]\w*: "
)
_SEVERE = re.compile(
    r"\b(FATAL|PANIC|ERROR|ALERT|CRIT|CRITICAL|EMERG)\b|\[(emerg|alert|crit|error|critical|fatal)\]|\b[Ee]rror:|\bfatal:|\bpanic:"
)
"""How programs mark the line that matters: PostgreSQL, nginx, HAProxy, Envoy, Go, node."""
_PASSING = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EIO}
)
"""Errors of the machine, not of the program: it can start once there is room again."""


class Program:
    """What Child runs. `process` may be replaced while it runs."""

    def __init__(self, process: Process, state: State, changed: Callable[[], None]) -> None:
        self.process = process
        self.changed = changed
        self.storage = state.storage
        self._state = state
        self.log = state.folder("logs") / f"{process.name}.log"
        self._log_from = 0
        """Where the log of this start begins: what an earlier one has said explains nothing."""
        self.more: dict[str, str] = {}
        """Environment that belongs to this run of the line, not to the process's description."""
        self.step_pid = 0
        self.accepted: dict[str, str] | None = None
        """The files that its checker has accepted."""

    def heard_by(self, voice: Voice | None, message: dict[str, Any]) -> None:
        """What the program says."""

    def write(self, files: dict[str, str]) -> None:
        """Write files of the process, owned by who it runs as. One that holds this text already is left: a restart
        needs no space."""
        for path, text in files.items():
            target = Path(path)
            with contextlib.suppress(OSError, ValueError):
                if target.read_text() == text:
                    continue
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write(target, text)
            self.own(target)

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.own(path)

    def own(self, path: Path) -> None:
        """Give a path to the account the process runs as."""
        if self.process.unprivileged and os.geteuid() == 0:
            from tierline.engines.unprivileged import account

            os.chown(path, *account())

    def _argv(self, argv: tuple[str, ...], unprivileged: bool) -> tuple[str, ...]:
        if unprivileged and os.geteuid() == 0:
            return (sys.executable, "-I", "-S", _UNPRIVILEGED, *argv)
        return argv

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """What it runs with: a few variables of the supervisor's, its own, and `more`."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "USER")
        }
        return {**kept, **self.process.env, **self.more, **more, **self._state.mark}

    async def step(self, step: Step) -> None:
        if step.unless is not None and Path(step.unless).exists():
            return
        with os.fdopen(os.memfd_create("step"), "w+b") as said:
            process = await asyncio.create_subprocess_exec(
                *self._argv(step.argv, step.unprivileged), stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                env=self.environment(step.env), cwd=self.process.cwd, start_new_session=True,
            )  # fmt: skip
            self.step_pid = process.pid
            self.changed()
            try:
                async with asyncio.timeout(step.timeout):
                    code = await process.wait()
            except (TimeoutError, asyncio.CancelledError) as ended:
                send(process.pid, signal.SIGKILL)
                await process.wait()
                self._rewind(step)
                if isinstance(ended, asyncio.CancelledError):
                    raise
                code = -1
            finally:
                self.step_pid = 0
                said.seek(0)
                words = said.read()
                self._append(words)
        if code != 0:
            self._rewind(step)
            why = f"took longer than {step.timeout:g} s" if code == -1 else f"failed with exit code {code}"
            text = words.decode(errors="replace")
            raise RunError(told(f"{self.process.name}: {step.about} {why}", text or self.said()))
        if step.creates is not None:
            Path(step.creates).touch(mode=0o600)

    def _rewind(self, step: Step) -> None:
        for path in step.rewinds:
            shutil.rmtree(path, ignore_errors=True)

    async def rewrite(self, files: dict[str, str]) -> None:
        """Replace files of the running process. Raises EngineError when its checker refuses them."""
        self.write(files)
        if self.process.check:
            await self.check()
        self.accepted = dict(self.process.files)

    async def check(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._argv(self.process.check, self.process.unprivileged),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment({}),
            cwd=self.process.cwd,
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            said = output.decode(errors="replace").strip()
            head = f"{self.process.name}: {self.process.engine} refuses its configuration"
            if cause := first_cause(said):
                head = f"{head}: {cause}"
            raise EngineError(f"{head}\n{said}{blamed(said, self.process)}")

    def launch(
        self, more: dict[str, str], descriptors: tuple[int, ...]
    ) -> tuple[subprocess.Popen[bytes], Voice | None]:
        """Start the program. more: environment. descriptors: what it inherits."""
        log = self._opened(self.log)
        out = self._opened(Path(self.process.stdout)) if self.process.stdout else log
        voice = Voice(lambda message: self.heard_by(voice, message)) if self.process.voice else None
        if voice is not None:
            more = {**more, VARIABLE: str(voice.theirs.fileno())}
            descriptors = (*descriptors, voice.theirs.fileno())
        # A Python process that still starts would die of a SIGHUP; it lets it through once it can handle it
        # (engines/steady.py).
        ours = any(part.startswith("tierline.engines.") for part in self.process.argv)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,) if ours else ())
        try:
            popen = subprocess.Popen(
                self._argv(self.process.argv, self.process.unprivileged), stdin=subprocess.DEVNULL, stdout=out,
                stderr=log, env=self.environment(more), cwd=self.process.cwd, start_new_session=True,
                pass_fds=descriptors, umask=self.process.umask,
            )  # fmt: skip
        except OSError as error:
            if voice is not None:
                voice.close()
            if error.errno in _PASSING:
                raise
            raise EngineError(f"{self.process.name}: {self.process.argv[0]}: {error.strerror}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            log.close()
            if out is not log:
                out.close()
            if voice is not None:
                voice.theirs.close()
        return popen, voice

    async def drain(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self.process.drain, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await asyncio.wait_for(process.wait(), self.process.stop_timeout)
        except TimeoutError:
            process.kill()
            await process.wait()

    def _opened(self, path: Path) -> BinaryIO:
        """A log to append to; where it can't be had, nothing is logged."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return path.open("ab")
        except OSError as error:
            self.storage.failed(path.name, error)
            return open(os.devnull, "ab")  # noqa: PTH123

    def _append(self, words: bytes) -> None:
        try:
            with self._opened(self.log) as log:
                log.write(words)
        except OSError as error:
            self.storage.failed(self.log.name, error)

    def begins(self) -> None:
        """What the log says from now on belongs to the start that follows."""
        try:
            self._log_from = self.log.stat().st_size
        except OSError:
            self._log_from = 0

    def said(self) -> str:
        """The end of what this start has said in its log."""
        try:
            with self.log.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                begins = (
                    self._log_from if self._log_from <= size else 0
                )  # a log that has grown large begins anew
                file.seek(max(begins, size - 16384))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def tail(self, lines: int = 12) -> str:
        """The last lines of what this start has said in its log."""
        return shown(self.said(), lines)


def shown(text: str, lines: int = 12) -> str:
    """The last lines of a log, for a message."""
    # A crashed program's stack, by addresses that only its makers can read, would push out why it crashed.
    last = [line for line in text.strip().splitlines() if not _FRAME.search(line)][-lines:]
    return "\n".join(f"  | {line}" for line in last)


def told(what: str, text: str) -> str:
    """A message: what failed and, in the same line, its first cause, as far as the log names one; then the log's end."""
    cause = first_cause(text) or (text.strip() if len(text.strip().splitlines()) == 1 else "")
    head = f"{what}: {cause}" if cause else what
    return f"{head}\n{shown(text)}".rstrip()


def first_cause(text: str) -> str:
    """The line of a log that says why a program failed; empty when none does."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and not _FRAME.search(line)]
    for number, line in reversed(list(enumerate(lines))):
        if line.startswith("Traceback (most recent call last)"):
            # The exception stands at the end; what is logged after it may be anything.
            found = [each for each in lines[number:] if _EXCEPTION.match(each)]
            return found[0] if found else ""
    return next((line.strip() for line in lines if _SEVERE.search(line)), "")


def group(leader: int) -> bool:
    """Whether anybody of a process group still runs; who only waits to be reaped doesn't."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state not in "ZX":
                return True
    return False


def send(pid: int, number: int, group: bool = True) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)
