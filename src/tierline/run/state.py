"""The state folder `.tierline/` beside the stack file.

version        the layout's version; another one is refused
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

import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from tierline.errors import RunError

VERSION = "1"
_LEAST_FREE = 200 << 20
_ODD = frozenset(" \t\n\"'`{}();$#%\\*?")
"""What means something in some engine's configuration, wherever it stands."""
_LOCK_PATIENCE = 0.2
"""Seconds for which somebody may have the lock who only looks whether the line is up."""


class State:
    """The state folder of one stack. Nothing is written before `open`."""

    def __init__(self, stack_file: Path) -> None:
        self.stack = stack_file
        # Another folder lets a second line of the same stack stand beside the first (tierline compare).
        self.root = stack_file.parent / os.environ.get("TIERLINE_STATE", ".tierline")
        self._lock: int | None = None
        self._secrets: dict[str, str] | None = None

    def open(self) -> None:
        """Make the folder and take the lock.

        Raises RunError for another layout, a full disk, or a line that is already up.
        """
        self.check()
        try:
            self.root.mkdir(mode=0o700, exist_ok=True)
            free = shutil.disk_usage(self.root).free
            if free < _LEAST_FREE:
                raise RunError(
                    f"{self.root}: {free >> 20} MiB free, {_LEAST_FREE >> 20} MiB are needed; free some, or remove "
                    "old data with tierline down --volumes"
                )
            (self.root / "version").write_text(VERSION + "\n")
        except OSError as error:
            raise RunError(f"{self.root}: {error.strerror}; the stack's folder must be writable") from None
        deadline = time.monotonic() + _LOCK_PATIENCE
        while (lock := self._locked()) is None:
            if time.monotonic() > deadline:
                running = self.read()
                who = f" (supervisor {running['pid']})" if running else ""
                raise RunError(
                    f"this stack is already up{who}: see tierline status, stop it with tierline down"
                )
            time.sleep(0.02)
        self._lock = lock

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
            found = version.read_text().strip() if version.is_file() else VERSION
        except OSError as error:
            raise RunError(f"{version}: {error.strerror}; another user made this state folder") from None
        if found != VERSION:
            raise RunError(
                f"{self.root} has layout {found}, this tierline has layout {VERSION}: "
                f"use the tierline that made it, or move the folder away"
            )

    def close(self) -> None:
        """Remove what says that the line is up, and give up the lock. Only for who has it, or when nobody has."""
        for name in ("state.json", "control.sock", "lock"):
            (self.root / name).unlink(missing_ok=True)
        if self._lock is not None:
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
        """Replace state.json in one step."""
        write(self.root / "state.json", msgspec.json.encode(told).decode())

    def read(self) -> dict[str, Any] | None:
        """state.json, or None when the line isn't up."""
        try:
            found: dict[str, Any] = msgspec.json.decode((self.root / "state.json").read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return found

    def secret(self, name: str) -> str:
        """A secret by name, made on first use and kept."""
        path = self.root / "secrets.json"
        if self._secrets is None:
            self._secrets = msgspec.json.decode(path.read_bytes()) if path.is_file() else {}
        if name not in self._secrets:
            self._secrets[name] = secrets.token_hex(20)
            write(path, msgspec.json.encode(self._secrets).decode())
        return self._secrets[name]

    def folder(self, *names: str) -> Path:
        """A folder below the root, made when missing."""
        path = self.root.joinpath(*names)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path


def write(path: Path, text: str, mode: int = 0o600, *, lasting: bool = False) -> None:
    """Write a file so that readers see the old or the new one, never half of it. lasting: also after a power cut."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if lasting:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
