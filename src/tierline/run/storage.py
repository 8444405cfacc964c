"""What of a line's own files can't be written at the moment, and since when: `status` shows it.

A failed write never ends what supervises. It is noted here, tried again, and forgotten when it has succeeded.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

LOW = 32 << 20
"""Bytes. With less free space engines fail to write, even where a small file of ours still fits (PostgreSQL's
write-ahead log comes in segments of 16 MiB)."""
_SPACE = "large files"
_RECENT = 10.0
"""Seconds for which a write that failed explains why a process can't start."""


class Trouble(msgspec.Struct):
    """A kind of file that could not be written: why, since when (seconds since the epoch), how often."""

    problem: str
    since: float
    times: int = 1
    last: float = 0.0


class Storage:
    """Of one state folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._troubles: dict[str, Trouble] = {}

    def failed(self, what: str, problem: OSError | str, times: int = 1) -> None:
        """Note that `what` (a file's name) could not be written."""
        said = problem if isinstance(problem, str) else problem.strerror or str(problem)
        found = self._troubles.get(what)
        if found is None:
            self._troubles[what] = Trouble(said, time.time(), times, time.time())
        else:
            found.problem, found.times, found.last = said, found.times + times, time.time()

    def well(self, what: str) -> None:
        """It was written."""
        self._troubles.pop(what, None)

    def look(self) -> bool:
        """Whether writing is in trouble: something failed within the last seconds, or too little space is free."""
        try:
            found = os.statvfs(self._root)
        except OSError as error:
            self.failed(_SPACE, error)
            return True
        free = found.f_bavail * found.f_frsize
        if free < LOW or (found.f_files and not found.f_favail):
            left = (
                f"{free >> 20} MiB are free"
                if found.f_favail or not found.f_files
                else "no file can be made (inodes)"
            )
            self.failed(_SPACE, left)
        else:
            self.well(_SPACE)
        now = time.time()
        # What was written by a process, not by the supervisor, is only known to have failed.
        for name in [name for name, each in self._troubles.items() if now - each.last > _RECENT]:
            self.well(name)
        return bool(self._troubles)

    def status(self) -> list[dict[str, object]]:
        return [
            {"what": name, "problem": each.problem, "since": each.since, "times": each.times}
            for name, each in self._troubles.items()
        ]
