"""The first thing that each of tierline's own processes does: signals are handled, and no failure to log ends it.

A program may be signalled from its first moment: its supervisor tells it to read a file anew (SIGHUP), a terminal goes
away. Python's own default for that is death, until whatever is imported has installed a handler. And a log on a full disk
must not make `print` or `logging` raise.
"""

from __future__ import annotations

import io
import os
import signal
import sys

lost = 0
"""Writes to this process's log that failed."""


class _Stream(io.RawIOBase):
    """A descriptor. What can't be written to it is counted and dropped."""

    mode = "wb"

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = f"<{name}>"
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        try:
            return os.write(self._descriptor, view)
        except OSError:
            global lost
            lost += 1
            return len(view)


def begin() -> None:
    """Call it before heavy imports. SIGHUP does nothing until somebody handles it; SIGTERM and SIGINT end the process.

    The supervisor starts Python processes with SIGHUP blocked (run/program.py), so that nothing is lost before this.
    """
    # A handler, not SIG_IGN: what is ignored stays ignored in every process that an application starts.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        made = io.TextIOWrapper(
            io.BufferedWriter(_Stream(name, descriptor)), encoding="utf-8", errors="backslashreplace", line_buffering=True,
            write_through=True,
        )  # fmt: skip
        setattr(sys, name, made)
