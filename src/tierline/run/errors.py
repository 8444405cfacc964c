"""What applications answer with 5xx, and what their health says once they are up: both stand in `status`.

A process that answers is ready, whatever it answers; that all its answers are errors is told beside that.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from tierline.plan.scaling import SLOTS

if TYPE_CHECKING:
    from tierline.run.child import Child
    from tierline.run.line import Line

_LOOK = 0.5
_AGAIN = 2.0
_DEADLINE = 5.0
_FAILED = 500
"""A default health path that an application doesn't have is answered with 404, which says nothing."""


class Errors:
    """Of one line's applications, by process."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._now: dict[str, tuple[int, dict[str, int]]] = {}
        """Of each process: its pid, and what its applications have counted since it started."""
        self._before: dict[str, dict[str, int]] = {}
        self._last: dict[str, str] = {}
        self._asked: dict[str, tuple[float, float]] = {}
        self._unwell: dict[str, str] = {}

    def heard(self, child: Child, message: dict[str, Any]) -> None:
        """A process tells how many of its answers were errors, and the last one's first line."""
        if "failed_answers" not in message or message["pid"] != child.pid:
            return
        name = child.process.name
        pid, counted = self._now.get(name, (message["pid"], {}))
        if pid != message["pid"]:  # it was started anew, and counts from nothing
            before = self._before.setdefault(name, {})
            for app, number in counted.items():
                before[app] = before.get(app, 0) + number
        told: dict[str, tuple[int, str]] = message["failed_answers"]
        self._now[name] = (message["pid"], {app: number for app, (number, _) in told.items()})
        if told:
            self._last[name] = max(told.values())[1]

    def of(self, child: Child) -> dict[str, Any]:
        """For `status`: how many, by application, the last one's first line, and what health said, if it wasn't well."""
        name = child.process.name
        counted = dict(self._before.get(name, {}))
        for app, number in self._now.get(name, (0, {}))[1].items():
            counted[app] = counted.get(app, 0) + number
        return {
            "count": sum(counted.values()),
            "by": counted,
            "last": self._last.get(name, ""),
            "health": self._unwell.get(name, ""),
        }

    async def watch(self) -> None:
        """Ask the health of each application once its process is up, and again while it isn't well."""
        while True:
            await asyncio.sleep(_LOOK)
            for name, child in list(self._line.children.items()):
                if not child.ready.is_set() or child.hung:
                    continue
                began, due = self._asked.get(name, (0.0, 0.0))
                if began != child.began or (name in self._unwell and time.monotonic() > due):
                    self._asked[name] = (child.began, time.monotonic() + _AGAIN)
                    await self._ask(name, child)

    async def _ask(self, name: str, child: Child) -> None:
        said = []
        for id in child.process.roles:
            role = self._line.plan.roles.get(id)
            if role is None or role.slot not in SLOTS or not role.settings.get("health"):
                continue
            address = self._line.addresses[(id, "http")]
            if problem := await _asked(*address, role.settings["health"]):
                said.append(f"{role.name}: GET {role.settings['health']} {problem}")
        if said and name not in self._unwell:
            self._line.events.tell("unwell", name, "; ".join(said))
        elif name in self._unwell and not said:
            self._line.events.tell("well", name, "its health is well again")
        if said:
            self._unwell[name] = "; ".join(said)
        else:
            self._unwell.pop(name, None)


async def _asked(host: str, port: int, path: str) -> str:
    """What is wrong, or nothing."""
    writer = None
    try:
        async with asyncio.timeout(_DEADLINE):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            words = (await reader.readline()).split()
            status = int(words[1])
    except TimeoutError:
        return f"isn't answered within {_DEADLINE:g} s"
    except (OSError, ValueError, IndexError) as error:
        return f"isn't answered: {error}"
    finally:
        if writer is not None:
            writer.close()
    return f"answers {status}" if status >= _FAILED else ""
