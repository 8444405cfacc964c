"""Waiting for events. A test waits for what has to happen, never for the clock, so it is right on the slowest machine;
PATIENCE ends only what hangs. What has to be fast is measured by `bench/`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 90.0
"""Seconds."""


def eventually(what: Callable[[], Any], within: float = PATIENCE, every: float = 0.03) -> Any:
    """The first true result of `what`, asked every so many seconds; the last one when the time is over."""
    until = time.monotonic() + within
    while not (answer := what()) and time.monotonic() < until:
        time.sleep(every)
    return answer


def never(what: Callable[[], Any], within: float = 0.5) -> bool:
    """Whether `what` stays false for a while. A slow machine makes this miss a fault, never see one that isn't there."""
    return not eventually(what, within)


async def becomes(what: Callable[[], Any], within: float = PATIENCE, every: float = 0.01) -> Any:
    """`eventually` in an event loop; `what` may be a coroutine function."""
    until = time.monotonic() + within
    while True:
        answer = what()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer or time.monotonic() > until:
            return answer
        await asyncio.sleep(every)


def expires(seconds: float) -> None:
    """Let pass what another process measures by its own clock: how long a token is good, a copy fresh, a rule rests.

    The one fixed wait there is, because no test can move that clock. It is a lower bound: a slow machine makes it longer,
    and what was expired stays so. `seconds` hold the margin.
    """
    time.sleep(seconds)


async def has_expired(seconds: float) -> None:
    """`expires` in an event loop."""
    await asyncio.sleep(seconds)
