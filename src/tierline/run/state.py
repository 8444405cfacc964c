"""The state folder `.tierline/` beside the stack file.

version        the layout's version; another one is refused
line           the line's id, and the folder it was made for
lock           held (flock) by the supervisor as long as it lives
state.json     who runs: supervisor's pid and start time, lineup, processes
control.sock   the supervisor's control socket
secrets.json   passwords and tokens, made on first use (0600)
ports.json     the ports of last time, taken again when they are free
authority/     the local certificate authority and its certificates
run/<unit>/    configuration and sockets; emptied at every start
data/<unit>/   what survives `down`; removed by `down --volumes`
hops/          one JSON-lines file per unit
logs/          one log per process
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tierline.errors import RunError
from tierline.run import guardian
from tierline.run.identity import boot, identity, original, owned
from tierline.run.storage import Storage

VERSION = "1"
_LEAST_FREE = 200 << 20
_ODD = frozenset(" \t\n\"'`{}();$#%\\*?[]")
"""What means something in some engine's configuration, wherever it stands."""
_SWEEP_PATIENCE = 10.0
"""Seconds for which the lock is waited for while somebody tidies up what a line has left."""
_LOCK_PATIENCE = 0.2
"""Seconds for which somebody may have the lock who only looks whether the line is up."""


class State:
    """The state folder of one stack. Nothing is written before `open`."""

    def __init__(self, stack_file: Path) -> None:
        self.stack = stack_file
        # Another folder lets a second line of the same stack stand beside the first (tierline compare).
        self.root = stack_file.parent / os.environ.get("TIERLINE_STATE", ".tierline")
        self.storage = Storage(self.root)
        self.line = ""
        """The line's id, by which its processes are known; empty: not known, or a copy's."""
        self.copied = ""
        """The folder that this one is a copy of, as far as it is known."""
        self._run = secrets.token_hex(4)
        self._lock: int | None = None
        self.left_out: frozenset[str] = frozenset()
        """Roles that run and answer nothing, which those in front don't ask (run/liveness.py)."""
        self.down: frozenset[str] = frozenset()
        """Roles of processes that don't run, or aren't ready."""
        self._secrets: dict[str, str] | None = None

    def open(self) -> None:
        """Make the folder and take the lock.

        Raises RunError for a line that is already up, another layout, another owner, a full disk, or secrets that are
        gone while what they protect is there.
        """
        self.refuse_second()
        self.check()
        try:
            self.root.mkdir(mode=0o700, exist_ok=True)
            self.take()
        except OSError as error:
            raise RunError(f"{self.root}: {error.strerror}; the stack's folder must be writable") from None
        try:
            self._check_contents()
            for name in ("state.json", "control.sock"):  # whatever is there
                _remove(self.root / name)
            (self.root / "version").write_text(VERSION + "\n")
            self.copied = original(self.root)
            self.line = identity(self.root) or secrets.token_hex(8)
            self._write_identity()
        except OSError as error:
            self.close()
            raise RunError(f"{self.root}: {error.strerror}; the stack's folder must be writable") from None
        except RunError:
            self.close()
            raise

    def refuse_second(self) -> None:
        """Raises RunError when the line is up, also one whose state folder was removed."""
        for pid, removed in guardian.holders(str(self.real)).items():
            if removed:
                raise RunError(
                    f"this stack is already up (supervisor {pid}), and its folder {self.root.name} was removed: stop it with "
                    "tierline down"
                )
        if self.held() and not self._sweeping():
            raise self._up()

    def _up(self) -> RunError:
        running = self.read()
        pids = list(guardian.holders(str(self.real))) or ([running["pid"]] if running else [])
        who = f" (supervisor {pids[0]})" if pids else ""
        return RunError(f"this stack is already up{who}: see tierline status, stop it with tierline down")

    @property
    def mark(self) -> dict[str, str]:
        """What all processes of this run have in their environment."""
        return {guardian.MARK: f"{self.line}.{self._run}:{self.real}"}

    @property
    def guards(self) -> tuple[str, str, str]:
        """What the guardian has to know: the folder, the line, and this run of it."""
        return str(self.real), self.line, self._run

    @property
    def real(self) -> Path:
        """The folder without symbolic links, as the kernel names it."""
        return Path(os.path.realpath(self.root))

    def take(self, sweeping: bool = False) -> None:
        """Take the lock. sweeping: only to tidy up, so that whoever comes meanwhile waits. Raises RunError when
        another supervisor has it."""
        began = time.monotonic()
        while (lock := self._locked()) is None:
            if time.monotonic() - began > (_SWEEP_PATIENCE if self._sweeping() else _LOCK_PATIENCE):
                raise self._up()
            time.sleep(0.02)
        self._lock = lock
        with contextlib.suppress(OSError):  # no room: whoever comes doesn't wait
            os.ftruncate(lock, 0)
            if sweeping:
                os.pwrite(lock, guardian.SWEEPING, 0)

    def _sweeping(self) -> bool:
        """Whether who has the lock only tidies up."""
        with contextlib.suppress(OSError):
            return (self.root / "lock").read_bytes() == guardian.SWEEPING
        return False

    def leftovers(
        self, told: dict[str, Any] | None = None
    ) -> tuple[dict[int, str], Callable[[], dict[int, str]]]:
        """Processes of a line that nobody supervises any more: those of state.json, and how to find the others."""
        line = self.line or identity(self.root)
        known: dict[int, str] = {}
        if told is not None and line and told.get("line") == line and told.get("boot") == boot():
            with contextlib.suppress(TypeError, ValueError):
                known = {int(pid): str(began) for pid, began in told.get("guarded", ()) if began}
        return known, lambda: guardian.found(str(self.real), line)

    def moved(self) -> Path | None:
        """Where the folder is now, if it is somewhere else than it was."""
        here = self._here()
        return here if here is not None and here != self.real else None

    def lost(self) -> bool:
        """Whether the folder that this supervisor has the lock of was removed."""
        return self._lock is not None and self._here() is None

    def restore(self) -> None:
        """Make the folder again that was removed, and have its lock. Raises OSError, or RunError when another has it."""
        self.root.mkdir(mode=0o700, exist_ok=True)
        before = self._lock
        self.take()
        if before is not None:
            os.close(before)
        (self.root / "version").write_text(VERSION + "\n")
        self._write_identity()

    def _write_identity(self) -> None:
        found = self.root.stat()
        write(self.root / "line", f"{self.line} {found.st_dev} {found.st_ino} {self.root}\n")

    def _here(self) -> Path | None:
        """The folder of the lock that this process holds; None when it was removed."""
        if self._lock is None:
            return None
        path = Path(f"/proc/self/fd/{self._lock}").readlink()
        return path.parent if os.fstat(self._lock).st_nlink else None

    def _locked(self) -> int | None:
        """The lock, taken, or None when somebody else has it."""
        path = self.root / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had it before removes the file: a lock on a removed file keeps nobody out.
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except OSError:
            pass
        os.close(descriptor)
        return None

    def check(self) -> None:
        """Raises RunError when the folder was made by another version, or by another user, or has a name that
        engines can't read in their configuration."""
        if odd := set(str(self.root)) & _ODD:
            raise RunError(
                f"{self.root}: a folder with {', '.join(map(repr, sorted(odd)))} in its path can't be named in the "
                "configuration of every engine; move the stack to one without"
            )
        version = self.root / "version"
        try:
            found = version.read_bytes().decode(errors="replace").strip() if version.is_file() else VERSION
        except OSError as error:
            raise RunError(f"{version}: {error.strerror}; {owned(self.root)}") from None
        if found != VERSION:
            raise RunError(
                f"{self.root} has layout {found}, this tierline has layout {VERSION}: "
                f"use the tierline that made it, or move the folder away"
            )

    def _check_contents(self) -> None:
        """Raises RunError for what can't be started from: another owner's folder, too little room, lost secrets."""
        mine = os.geteuid()
        if self.root.stat().st_uid != mine:
            raise RunError(f"{self.root}: {owned(self.root)}")
        free = shutil.disk_usage(self.root).free
        if free < _LEAST_FREE:
            raise RunError(
                f"{self.root}: {free >> 20} MiB free, {_LEAST_FREE >> 20} MiB are needed; free some, or remove "
                "old data with tierline down --volumes"
            )
        self._read_secrets()

    def _read_secrets(self) -> dict[str, str]:
        """Raises RunError when they are gone, or can't be read: new ones open nothing that is there."""
        path = self.root / "secrets.json"
        way = "put the file back from a copy, or remove the data that it opens with tierline down --volumes"
        try:
            found = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            if any(self.root.glob("data/*/*")):
                raise RunError(
                    f"{path} is gone, and there is data that was made with its secrets: {way}"
                ) from None
            return {}
        except OSError as error:
            raise RunError(f"{path} can't be read ({error.strerror}): {way}") from None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            size = path.stat().st_size
            why = (
                "is empty"
                if not size
                else f"is damaged: its {size} bytes are no JSON object of names and secrets"
            )
            raise RunError(f"{path} {why}: {way}") from None
        return found

    def close(self) -> None:
        """Remove what says that the line is up, wherever the folder is now, and give up the lock. Who doesn't hold the
        lock removes nothing."""
        if self._lock is None:
            return
        if (here := self._here()) is not None:
            for name in ("state.json", "control.sock", "lock"):
                _remove(here / name)
        os.close(self._lock)
        self._lock = None

    def held(self) -> bool:
        """Whether a supervisor lives."""
        try:
            descriptor = os.open(self.root / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def write(self, told: dict[str, Any]) -> None:
        """Replace state.json in one step. What can't be written is noted in `storage`."""
        try:
            here = self._here()  # where it was, there may be another line by now
            if here is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            write(here / "state.json", msgspec.json.encode(told).decode())
            self.storage.well("state.json")
        except OSError as error:
            self.storage.failed("state.json", error)

    def read(self) -> dict[str, Any] | None:
        """state.json, or None when the line isn't up."""
        try:
            found: Any = msgspec.json.decode((self.root / "state.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return found if isinstance(found, dict) and isinstance(found.get("pid"), int) else None

    def secret(self, name: str) -> str:
        """A secret by name, made on first use and kept."""
        path = self.root / "secrets.json"
        if self._secrets is None:
            self._secrets = self._read_secrets()
        if name not in self._secrets:
            self._secrets[name] = secrets.token_hex(20)
            write(path, msgspec.json.encode(self._secrets).decode())
        return self._secrets[name]

    def folder(self, *names: str) -> Path:
        """A folder below the root, made when missing."""
        path = self.root.joinpath(*names)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write(path: Path, text: str, mode: int = 0o600, *, lasting: bool = False) -> None:
    """Write a file so that readers see the old or the new one, never half of it. lasting: also after a power cut."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if lasting:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
