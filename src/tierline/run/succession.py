"""A process replaced by its successor without a request failing: the listening sockets are handed on.

    successor starts with the sockets → is ready: both accept → the older one asks its clients to connect anew,
    stops accepting, lets its requests finish, ends

The addresses stay the same, so nobody in front has to be told. A successor that can't start (a mistake in its
source) leaves the older one as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from typing import Any

from tierline.engines.base import Process
from tierline.errors import RunError
from tierline.run.child import Child
from tierline.run.voice import Voice

MORE = 2.0
"""Seconds beyond those in which it drains after which a process is ended whatever it still does."""


class Refused(RunError):
    """The successor could not start. `sources`: what it had imported until then, `mistake`: what it said."""

    def __init__(self, problem: str, sources: frozenset[str] = frozenset(), file: str = "") -> None:
        super().__init__(problem)
        self.sources = sources | ({file} if file else set())


def able(child: Child) -> bool:
    """Whether a process can be succeeded now. One that is delayed restarts: its detour follows a restart."""
    return (
        not child.delays
        and child.process.voice
        and child.voice is not None
        and child.ready.is_set()
        and child.phase == "ready"
    )


async def succeed(child: Child, process: Process) -> None:
    """Replace a process by one of this description. Raises Refused or RunError; the older one then goes on."""
    older, before = child.voice, child.process
    assert older is not None
    sockets = await older.sockets()
    began = time.monotonic()
    try:
        child.process = process
        child.write(process.files)
        popen, voice = _successor(child, sockets)
    except BaseException:
        child.process = before
        child.write(before.files)
        raise
    finally:
        for descriptor in sockets.values():
            os.close(descriptor)
    assert voice is not None
    child.beside.add(popen.pid)
    child.changed()
    try:
        sources = await _ready(child, popen, voice)
    except BaseException:
        child.process = before
        child.write(before.files)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        await asyncio.to_thread(popen.wait)
        voice.close()
        child.beside.discard(popen.pid)
        child.changed()
        raise
    retiring = child.pid
    ended = child.replace(popen, voice)
    child.beside.discard(popen.pid)
    child.beside.add(retiring)
    child.sources, child.problem = sources, ""
    child.ready_after = time.monotonic() - began
    older.say(do="retire")
    asyncio.create_task(_retire(child, retiring, older, ended, before.drained + MORE))  # noqa: RUF006  it ends with the process
    child.changed()


def _successor(child: Child, sockets: dict[str, int]) -> tuple[subprocess.Popen[bytes], Voice | None]:
    """The spare, when there is one that fits; else a new process."""
    spare, child.spare = child.spare, None
    if spare is not None and spare.fits(child.process):
        try:
            spare.voice.go(sockets, child.more)
            return spare.popen, spare.voice
        except OSError:
            pass
    if spare is not None:
        spare.end()
    return child.launch({"TIERLINE_LISTEN": json.dumps(sockets)}, tuple(sockets.values()))


async def _ready(child: Child, popen: subprocess.Popen[bytes], voice: Voice) -> frozenset[str]:
    """Wait until the successor says it is ready; the files it has imported."""
    loop = asyncio.get_running_loop()
    said: asyncio.Future[dict[str, Any]] = loop.create_future()

    def hear(message: dict[str, Any]) -> None:
        if ("ready" in message or "failed" in message) and not said.done():
            said.set_result(message)

    voice.listener = hear
    deadline = loop.time() + child.process.ready_timeout
    while not said.done():
        if popen.poll() is not None:
            await asyncio.sleep(0.01)
            if not said.done():
                code = popen.returncode
                raise Refused(f"its successor ended with exit code {code} while starting\n{child.tail()}")
        if loop.time() > deadline:
            raise Refused(f"its successor wasn't ready within {child.process.ready_timeout:g} s")
        await asyncio.wait({said}, timeout=0.05)
    message = said.result()
    voice.listener = None
    if "failed" in message:
        told = message["failed"]
        raise Refused(told["text"], frozenset(message.get("files", ())), told["file"])
    return frozenset(message.get("files", ()))


async def _retire(child: Child, pid: int, voice: Voice, ended: asyncio.Event, within: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), within)
    if not ended.is_set():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        await ended.wait()
    voice.close()
    child.beside.discard(pid)
    child.changed()
