"""Spare processes in development: the next successor of each Python process, ready to go (engines/python/spare.py)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from tierline.engines.base import Process
from tierline.run.voice import Voice

if TYPE_CHECKING:
    from tierline.run.child import Child

_LATER = 0.4
"""Seconds until a used spare is replaced: what is live now goes first."""


class Spare:
    """A started process that waits, for a process of this description."""

    def __init__(self, process: Process, popen: subprocess.Popen[bytes], voice: Voice) -> None:
        self._for = (process.argv, process.env, process.cwd)
        self.popen = popen
        self.voice = voice

    def fits(self, process: Process) -> bool:
        """Whether it can become this process, and still lives."""
        return self._for == (process.argv, process.env, process.cwd) and self.popen.poll() is None

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.voice.close()


async def provide(child: Child) -> None:
    """See to it that a process has a spare, in a moment."""
    await asyncio.sleep(_LATER)
    if child.spare is None and child.phase == "ready" and child.process.voice:
        popen, voice = child.launch({"TIERLINE_SPARE": "1"}, ())
        assert voice is not None
        child.spare = Spare(child.process, popen, voice)
        child.changed()
