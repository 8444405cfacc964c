"""The supervisor's side of the guardian: started, told which processes there are, replaced when it was killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tierline.run import guardian
from tierline.run.state import State

_LOOK = 0.25
"""Seconds between two looks whether it lives."""


class Guarded:
    """The processes of one line, and who ends them when the supervisor is killed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._popen: subprocess.Popen[bytes] | None = None
        self.known: dict[int, str] = {}
        """Pid and start time."""
        self._leftovers: set[str] = set()

    def start(self) -> None:
        """Raises OSError when it can't be started."""
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guardian.__file__)), *self._state.guards],
            stdin=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != guardian.MARK},
            start_new_session=True,
        )

    async def watch(self) -> None:
        """One that was killed is replaced, and told what it has to guard. Until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._popen is not None and self._popen.poll() is not None:
                self.start()
                for pid, began in self.known.items():
                    self._tell(f"+ {pid} {began}\n")
                known, self._leftovers = self._leftovers, set()
                self.removes(known)

    def removes(self, paths: Iterable[str]) -> None:
        """Files outside the state folder that processes leave behind when they are killed, and go with them then."""
        for path in set(paths) - self._leftovers:
            self._leftovers.add(path)
            if path.isascii() and not path.startswith(f"{self._state.guards[0]}/"):
                self._tell(f"leftover {path}\n")

    def are(self, pids: set[int]) -> bool:
        """These are the processes now; whether some of them are new."""
        come, gone = pids - self.known.keys(), self.known.keys() - pids
        for pid in gone:
            del self.known[pid]
            self._tell(f"- {pid}\n")
        for pid in come:
            self.known[pid] = guardian.start_time(pid)
            self._tell(f"+ {pid} {self.known[pid]}\n")
        return bool(come)

    def end(self) -> None:
        """Everything was stopped. What a service has started and left behind, in groups of its own, is ended too."""
        self._tell("done\n")
        popen = self._popen
        if popen is not None and popen.stdin is not None:
            with contextlib.suppress(OSError):
                popen.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                popen.wait(5)
        root, line, run = self._state.guards
        guardian.sweep({}, lambda: guardian.found(root, line, run))

    def _tell(self, line: str) -> None:
        if self._popen is not None and self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.write(line.encode())
                self._popen.stdin.flush()
