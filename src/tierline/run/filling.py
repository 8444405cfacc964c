"""What refuses writes when it is full is told before it is (engines/base.py, Filling)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import time
from typing import TYPE_CHECKING

from tierline.run.child import Child

if TYPE_CHECKING:
    from tierline.run.line import Line

_EVERY = 5.0
"""Seconds between two looks."""
_NEARLY = 0.9
"""Of its bytes: from here on it is told."""
_AGAIN = 0.8
"""Below this it is told again when it fills once more."""


async def watch(line: Line) -> None:
    """Until cancelled."""
    told: set[str] = set()
    while True:
        for child in list(line.children.values()):
            if child.process.fills and child.ready.is_set():
                with contextlib.suppress(OSError, ValueError, KeyError, EOFError, TimeoutError):
                    async with asyncio.timeout(1):
                        await _look(line, child, told)
        await asyncio.sleep(_EVERY)


async def _look(line: Line, child: Child, told: set[str]) -> None:
    module = importlib.import_module(f"tierline.engines.{child.process.engine}.filling")
    child.filling = found = await module.filling(child.process)
    if found is None:
        return
    name, share = child.process.name, found.used / found.most
    if share < _AGAIN:
        told.discard(name)
    if share < _NEARLY:
        return
    text = f"{share:.0%} of its {found.most >> 20} MiB are used; {found.advice}"
    child.notice = (time.time() + 3 * _EVERY, text)
    if name not in told:
        told.add(name)
        line.events.tell("full", name, text)
