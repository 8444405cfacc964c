"""Ten parts in four levels that only wait: what the engine adds to the critical path."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tierline.journeys import Journey, build

screen = Journey("screen", "/screen")
TOOK: dict[str, float] = {}


async def wait(name: str, ms: float) -> float:
    began = time.perf_counter()
    await asyncio.sleep(ms / 1000)
    TOOK[name] = time.perf_counter() - began
    return ms


@screen.part
async def a1():
    return await wait("a1", 10)


@screen.part
async def a2():
    return await wait("a2", 4)


@screen.part
async def a3():
    return await wait("a3", 2)


@screen.part
async def b1(a1):
    return await wait("b1", 12)


@screen.part
async def b2(a1, a2):
    return await wait("b2", 3)


@screen.part
async def b3(a3):
    return await wait("b3", 20)


@screen.part
async def c1(b1):
    return await wait("c1", 15)


@screen.part
async def c2(b2, b3):
    return await wait("c2", 6)


@screen.part
async def d1(c1):
    return await wait("d1", 8)


@screen.part
async def d2(c1, c2):
    return await wait("d2", 10)


NEEDS = {
    "a1": (),
    "a2": (),
    "a3": (),
    "b1": ("a1",),
    "b2": ("a1", "a2"),
    "b3": ("a3",),
    "c1": ("b1",),
    "c2": ("b2", "b3"),
    "d1": ("c1",),
    "d2": ("c1", "c2"),
}


def critical() -> float:
    """The longest chain of what the parts really took, in seconds."""
    ends: dict[str, float] = {}
    for name, needs in NEEDS.items():
        ends[name] = max((ends[need] for need in needs), default=0.0) + TOOK[name]
    return max(ends.values())


async def measure(rounds: int) -> list[float]:
    """The journey's time over its critical path, per round."""
    app = build([screen])
    scope = {"type": "http", "method": "GET", "path": "/screen", "query_string": b"", "headers": []}
    found = []

    async def receive() -> Any:
        await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        return None

    for _ in range(rounds):
        began = time.perf_counter()
        await app(scope, receive, send)
        found.append((time.perf_counter() - began) / critical())
    return found
