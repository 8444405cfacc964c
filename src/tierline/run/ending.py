"""The end of a process: noticed without a thread for each, whatever the machine is short of."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tierline.engines.base import Process
from tierline.run.program import group, send

_GROUP = 1.0
"""Seconds for the rest of its group to be gone: they have its ports until then."""


async def ended(popen: subprocess.Popen[bytes]) -> None:
    """Wait until the process has ended."""
    try:
        descriptor = os.pidfd_open(popen.pid)
    except OSError:  # no descriptor left: it is looked at instead
        while popen.poll() is None:
            await asyncio.sleep(0.05)
        return
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, event.set)
        await event.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    popen.wait()


async def clear(popen: subprocess.Popen[bytes], process: Process) -> None:
    """End what is left of its group, and remove the files that would keep a successor away."""
    send(popen.pid, signal.SIGKILL)
    deadline = asyncio.get_running_loop().time() + _GROUP
    while group(popen.pid) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.005)
    _remove(Path(each) for each in process.leftovers)
    for folder in process.folders:  # sockets that it had no time to remove
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        _remove(Path(each) for each in entries if _socket(each))


def _socket(entry: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return False


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError:  # it will say so itself, if it matters
            continue
