"""What a journey drops is dropped everywhere: in the other processes' memories, and in the copies of every cache and place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tierline.errors import RunError
from tierline.run.purge import everywhere
from tierline.tiers.cache.tier import Purge

if TYPE_CHECKING:
    from tierline.run.child import Child
    from tierline.run.line import Line

Asked = tuple["Child", int, list[str]]


class Drops:
    """Of one line. What is asked for while a purge runs is done together in the next one."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._asked: list[Asked] = []
        self._at_work = False
        self._refused = ""

    def heard(self, child: Child, message: dict[str, Any]) -> None:
        """`{"drop": tags, "number": n}`; the process gets `{"do": "dropped", "number": n}`, however it went."""
        if "drop" not in message:
            return
        self._asked.append((child, int(message["number"]), [str(tag) for tag in message["drop"]]))
        if not self._at_work:
            self._at_work = True
            self._line.tasks.keep("drops", self._work)

    async def _work(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                await self._dropped(asked)
        finally:
            self._at_work = False

    async def _dropped(self, asked: list[Asked]) -> None:
        line = self._line
        tags = list(dict.fromkeys(tag for _, _, each in asked for tag in each))
        try:
            for other in list(line.children.values()):
                if other.voice is not None and "experience" in _tiers(line, other):
                    other.voice.say(do="drop", tags=tags)
            if any(role.tier in ("cache", "cdn") for role in line.plan.roles.values()):
                await self._purged(tags)
        finally:
            for child, number, _ in asked:
                if child.voice is not None:
                    child.voice.say(do="dropped", number=number)

    async def _purged(self, tags: list[str]) -> None:
        line = self._line
        from tierline.journeys.tags import token

        order = Purge((), (), tuple(dict.fromkeys(map(token, tags))))
        try:
            done = await asyncio.to_thread(everywhere, line.plan, line.context, order, line.runs)
        except RunError as error:
            if str(error) != self._refused:  # the same for each drop
                self._refused = str(error)
                line.events.tell(
                    "stale", "drops", f"copies of what journeys drop stay until their time is over: {error}"
                )
            return
        for each in done:
            if not each["well"]:
                line.events.tell(
                    "stale", each["role"], f"may serve older copies of {', '.join(tags)}: {each['said']}"
                )


def _tiers(line: Line, child: Child) -> set[str]:
    return {line.plan.roles[role].tier for role in child.process.roles if role in line.plan.roles}
