"""What commands carry: nobody in them counts, so those who call them do.

tiers in front → their hops say who answered, and in what time → telemetry adds it up  ┐
journeys and services of the line → their clients count what each address answered     ┴→ one number that only grows
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import httpx

from tierline.engines.telemetry.engine import TOKEN
from tierline.plan.scaling import counted_outside

if TYPE_CHECKING:
    from tierline.run.child import Child
    from tierline.run.line import Line
    from tierline.run.scale_load import Loads

_LONGEST = 1.0


class Carried:
    """What the instances of a line's commands have answered. Requests that nobody of the line sent are missing."""

    def __init__(self, line: Line, loads: Loads) -> None:
        self._line = line
        self._loads = loads
        self._client: httpx.AsyncClient | None = None
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        """What a source has last said of an address."""
        self._sums: dict[str, tuple[int, int]] = {}
        """Requests and microseconds by address or role, of all sources."""

    def heard(self, child: Child, message: dict[str, Any]) -> None:
        """A process tells what it has been answered, by address."""
        if "called" in message and message["pid"] == child.pid:
            source = f"{child.process.name} {child.pid}"
            for address, (many, us) in message["called"].items():
                self._add(source, address.removeprefix("http://"), many, us)

    def _add(self, source: str, address: str, many: int, us: int) -> None:
        before = self._seen.get((source, address), (0, 0))
        if many < before[0]:  # it began anew
            before = (0, 0)
        self._seen[(source, address)] = (many, us)
        sum_of = self._sums.get(address, (0, 0))
        self._sums[address] = (sum_of[0] + many - before[0], sum_of[1] + us - before[1])

    async def look(self) -> None:
        """Ask telemetry, and tell `loads` of each instance. When it doesn't answer, nothing is known."""
        instances = {
            id: child
            for child in self._line.children.values()
            for id in child.process.roles
            if (role := self._line.plan.roles.get(id)) is not None and counted_outside(role)
        }
        if not instances:
            return
        with contextlib.suppress(httpx.HTTPError, ValueError):
            async with asyncio.timeout(_LONGEST):
                await self._ask()
        now = time.monotonic()
        for id, child in instances.items():
            host, port = self._line.context.address(id, "http")
            each = [self._sums.get(name, (0, 0)) for name in (f"{host}:{port}", id)]
            name = self._line.plan.roles[id].name
            self._loads.carried(child, name, sum(many for many, _ in each), sum(us for _, us in each), now)

    async def _ask(self) -> None:
        if self._client is None:
            token = self._line.state.secret(TOKEN)
            self._client = httpx.AsyncClient(
                headers={"authorization": f"Bearer {token}"}, timeout=_LONGEST, trust_env=False
            )
        host, port = self._line.addresses[("telemetry", "otlp")]
        answer = await self._client.get(f"http://{host}:{port}/carried")
        for address, (many, us) in answer.json().items():
            self._add("telemetry", address, many, us)

    def forget(self) -> None:
        """Sources that are gone don't come back: what they have said stays in the sums."""
        there = {f"{child.process.name} {child.pid}" for child in self._line.children.values()} | {
            "telemetry"
        }
        for key in [key for key in self._seen if key[0] not in there]:
            del self._seen[key]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        self._client = None
