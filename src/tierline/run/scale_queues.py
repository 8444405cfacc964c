"""How much waits in queues: what NATS says of the consumers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from tierline.engines.nats.consumers import durable, waiting
from tierline.plan.model import Role
from tierline.plan.wiring import prefix

if TYPE_CHECKING:
    from tierline.run.line import Line

_LONGEST = 2.0


def sources(role: Role, roles: dict[str, Role]) -> list[tuple[str, str]]:
    """(name, kind) of what a role's instances work off: a function's source, or the queues a service uses."""
    if role.slot == "feature.function":
        return [(role.settings["on"]["name"], role.settings["on"]["kind"])]
    return [(roles[need].name, "Queue") for need in role.needs if roles[need].slot == "feature.queue"]


class Queues:
    """One connection, made when something is first asked for."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._client: Any = None

    async def waiting(self, role: Role) -> tuple[int, int] | None:
        """(waiting, delivered and not acknowledged) for a role; None while nobody can say."""
        from nats.errors import Error

        total = [0, 0]
        try:
            async with asyncio.timeout(_LONGEST):
                for name, kind in sources(role, self._line.plan.roles):
                    stream = (await self._connected(role, name)).jetstream()
                    found = durable(name, kind, role.name)
                    one = await waiting(stream, name, found)
                    total = [total[0] + one[0], total[1] + one[1]]
        except (Error, OSError, TimeoutError):
            return None
        return total[0], total[1]

    async def _connected(self, role: Role, name: str) -> Any:
        if self._client is None or self._client.is_closed:
            import nats

            async def quiet(error: Exception) -> None:
                """The line's own log of NATS says what is wrong."""

            url = self._line.context.text(role.environment[f"{prefix(name)}_NATS_URL"])
            self._client = await nats.connect(
                url, connect_timeout=1, max_reconnect_attempts=-1, error_cb=quiet, name="tierline scale"
            )
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                await self._client.close()
        self._client = None
