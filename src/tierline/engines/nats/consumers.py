"""The consumers of functions: what has been delivered to one, and what waits for it."""

from __future__ import annotations

from typing import Any


def durable(source: str, kind: str, function: str) -> str:
    """The consumer's name: a queue has one for all, every function reads a topic or stream for itself."""
    return source if kind == "Queue" else f"{source}-{function}"


async def waiting(js: Any, source: str, name: str) -> tuple[int, int]:
    """Messages that wait for the consumer, and those that were delivered and not yet acknowledged."""
    info = await js.consumer_info(source, name)
    return int(info.num_pending or 0), int(info.num_ack_pending or 0)
