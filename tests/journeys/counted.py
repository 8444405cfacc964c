"""Journeys over the service that counts (`counting.py`), which runs on a server of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

import httpx

from tierline.journeys import HTTP, Journey, build
from tierline.journeys.app import Experience
from tierline.journeys.testing import Outcome, ask

T = TypeVar("T")


class Counted:
    """The service, as parts name it: `shop`."""

    def __init__(self, address: str, control: httpx.Client) -> None:
        self.address = address
        self._control = control

    def set(self, manners: dict[str, list[dict[str, Any]]]) -> None:
        """How it answers from now on; what it was asked before is forgotten."""
        assert self._control.post("/-/set", json=manners).status_code == 200

    def asked(self) -> dict[str, int]:
        """Requests by method and path since the last `set`."""
        found: dict[str, int] = self._control.get("/-/asked").json()["asked"]
        return found

    def keys(self) -> list[str]:
        """Idempotency keys of its writes, in order."""
        found: list[str] = self._control.get("/-/asked").json()["keys"]
        return found

    def build(self, *journeys: Journey, **words: Any) -> Experience:
        return build(list(journeys), services={"shop": HTTP(self.address, name="shop")}, **words)

    async def asks(
        self,
        app: Experience,
        target: str,
        *,
        client: str = "web",
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Outcome:
        sent = {"x-client": client, **(headers or {})}
        if body is not None:
            sent["content-type"] = "application/json"
        return await ask(app, method, target, sent, body, Outcome())

    def ask(self, journey: Journey, target: str, **words: Any) -> Outcome:
        """One request to an application of its own."""
        app = self.build(journey)

        async def main() -> Outcome:
            try:
                return await self.asks(app, target, **words)
            finally:
                await app.stop()

        return within(main())


@contextlib.contextmanager
def counted(address: str) -> Iterator[Counted]:
    with httpx.Client(base_url=f"http://{address}") as control:
        yield Counted(address, control)


def within(work: Awaitable[T], seconds: float = 30.0) -> T:
    async def main() -> T:
        async with asyncio.timeout(seconds):
            return await work

    return asyncio.run(main())
