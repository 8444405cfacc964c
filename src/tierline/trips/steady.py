"""A steady load: requests at their times whether or not earlier ones are back (open loop)."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import time
from collections.abc import Callable, Sequence

import msgspec

from tierline.trips.client import Client


class Result(msgspec.Struct, frozen=True):
    """One request: when it was due (seconds from the start), its time from then, its status (0: no answer)."""

    due: float
    seconds: float
    status: int
    path: str
    cache: str


def steady(
    client: Client, paths: Sequence[str], *, rate: float, seconds: float, at: float | None = None,
    action: Callable[[], object] | None = None,
) -> list[Result]:  # fmt: skip
    """Ask for the paths in turn at `rate` per second; run `action` (in a thread) at `at` seconds.

    The time of a request counts from when it was due, so that a stall is seen by every request that it delays.
    """
    return asyncio.run(_steady(client, paths, rate, seconds, at, action))


async def _steady(
    client: Client, paths: Sequence[str], rate: float, seconds: float, at: float | None,
    action: Callable[[], object] | None,
) -> list[Result]:  # fmt: skip
    import httpx

    resolved = client.resolve()
    verify: ssl.SSLContext | bool = client.trust()
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    results: list[Result] = []
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(
        verify=verify, base_url=client.url(resolved), timeout=10, limits=limits, trust_env=False
    ) as http:
        await http.get(paths[0], headers={"host": client.domain}, extensions={"sni_hostname": client.domain})
        began = time.monotonic()
        pending = [loop.run_in_executor(None, _later, began, at, action)] if at is not None and action else []

        async def one(due: float, path: str) -> None:
            try:
                answer = await http.get(
                    path, headers={"host": client.domain}, extensions={"sni_hostname": client.domain}
                )
                status, cache = answer.status_code, answer.headers.get("x-cache", "")
            except httpx.HTTPError:
                status, cache = 0, ""
            results.append(Result(due, time.monotonic() - began - due, status, path, cache))

        tasks = []
        for number, path in zip(range(int(rate * seconds)), itertools.cycle(paths), strict=False):
            due = number / rate
            await asyncio.sleep(max(0.0, began + due - time.monotonic()))
            tasks.append(asyncio.create_task(one(due, path)))
        await asyncio.gather(*tasks, *pending)
    return sorted(results, key=lambda result: result.due)


def _later(began: float, at: float, action: Callable[[], object]) -> None:
    time.sleep(max(0.0, began + at - time.monotonic()))
    action()
