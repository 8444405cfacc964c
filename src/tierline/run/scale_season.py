"""Seasons: more instances for a time that is known before, warm when the visitors come.

    due by the supervisor's clock, or asked for → at least so many instances → each warm-up, within its deadline

A warm-up that fails is told and keeps nothing from happening. When a season is over, what has a target in its
scale shrinks as its load does, the rest goes back at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from typing import TYPE_CHECKING, Any

from tierline.errors import RunError, TierlineError, choices, nearest
from tierline.plan.model import Role
from tierline.plan.scaling import bounds, counts, firsts
from tierline.plan.seasons import concerns, window
from tierline.run.scale_rule import TARGETS
from tierline.run.scale_warm import Warmed, warm

if TYPE_CHECKING:
    from tierline.run.scale import Scaler

_AGAIN = 15.0
"""Seconds until a season whose instances could not start is tried again."""


class Seasons:
    """The seasons of a line."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler
        self.on: dict[str, float] = {}
        """Since when, by name."""
        self._asked: dict[str, bool] = {}
        """What was asked for by hand, until the clock agrees."""
        self._warming: dict[str, asyncio.Task[list[Warmed]]] = {}
        self._warmed: dict[str, list[Warmed]] = {}
        self._rests: dict[str, float] = {}
        self._turn = asyncio.Lock()

    def _known(self) -> dict[str, dict[str, Any]]:
        return {season["name"]: season for season in self._scaler.line.plan.seasons}

    def least(self, role: Role) -> int:
        """Instances per zone that the seasons ask for, of one name."""
        return max(
            (s["min"] for name, s in self._known().items() if name in self.on and concerns(s, role)),
            default=0,
        )

    async def look(self) -> None:
        """Begin and end what the clock says."""
        now = datetime.datetime.now(datetime.UTC)
        for name, season in self._known().items():
            begin, end = window(season, now)
            due = begin is not None and end is not None and begin <= now < end
            if self._asked.get(name) is due:
                del self._asked[name]
            due = self._asked.get(name, due)
            if due != (name in self.on) and self._rests.get(name, 0) <= time.monotonic():
                try:
                    async with self._turn:
                        if self._asked.get(name, due) != (name in self.on):
                            await (self._begin(name) if due else self._end(name))
                except (TierlineError, OSError) as error:
                    self._rests[name] = time.monotonic() + _AGAIN
                    self._scaler.line.events.tell("refused", f"season {name}", str(error))
        for name in [name for name in self.on if name not in self._known()]:  # the stack file has changed
            del self.on[name]

    async def play(self, name: str, begin: bool) -> list[dict[str, Any]]:
        """What `tierline season` asks: now, until it is taken back or the clock agrees. What the warm-ups did."""
        known = self._known()
        if name not in known:
            raise RunError(f"no season {name!r}{nearest(name, known)} there are: {choices(known)}")
        if begin is (name in self.on):
            raise RunError(f"season {name} is {'on' if begin else 'over'} already; see tierline status")
        async with self._turn:
            before, self._asked[name] = self._asked.get(name), begin
            try:
                await (self._begin(name) if begin else self._end(name))
            except BaseException:
                del self._asked[name]
                if before is not None:
                    self._asked[name] = before
                raise
        if not begin:
            return []
        return [each.data() for each in await self._warming[name]]

    async def _begin(self, name: str) -> None:
        scaler, season = self._scaler, self._known()[name]
        self.on[name] = time.time()
        there = counts(scaler.line.plan)
        try:
            await scaler.settle()
        except BaseException:
            del self.on[name]
            raise
        self._tell(name, there, f"season {name}")
        scaler.line.events.tell("season", name, f"has begun: at least {season['min']} instances in each zone")
        self._warming[name] = asyncio.create_task(self._warm(name, season))

    async def _warm(self, name: str, season: dict[str, Any]) -> list[Warmed]:
        line = self._scaler.line
        self._warmed.pop(name, None)
        found = await asyncio.gather(*(warm(line, season, each) for each in season["warm_up"]))
        for each in found:
            line.events.tell("season" if each.well else "failed", name, f"warm-up {each.what}: {each.said}")
        self._warmed[name] = list(found)
        return list(found)

    async def _end(self, name: str) -> None:
        scaler, season = self._scaler, self._known()[name]
        since = self.on.pop(name)
        if name in self._warming:
            self._warming.pop(name).cancel()
        there = counts(scaler.line.plan)
        for key, role in firsts(scaler.line.plan).items():
            if concerns(season, role):
                scale = role.settings["scale"]
                # Without a target nobody would ever take them away again.
                aims = any(scale.get(kind) for kind in TARGETS)
                scaler.wanted[key] = there[key] if aims else bounds(role).min
        try:
            await scaler.settle()
        except BaseException:
            self.on[name] = since
            raise
        self._tell(name, there, f"season {name} is over")
        scaler.line.events.tell("season", name, f"is over after {time.time() - since:.0f} s")

    def _tell(self, name: str, before: dict[tuple[str, str], int], why: str) -> None:
        for key, now in counts(self._scaler.line.plan).items():
            if now != before.get(key, now):
                self._scaler.told(key, before[key], now, why)

    def status(self) -> list[dict[str, Any]]:
        """For `status`: what is on, and what comes next."""
        now = datetime.datetime.now(datetime.UTC)
        found = []
        for name, season in self._known().items():
            begin, end = window(season, now)
            found.append(
                {
                    "name": name,
                    "on": name in self.on,
                    "since": self.on.get(name, 0),
                    "min": season["min"],
                    "begins": begin.timestamp() if begin else None,
                    "ends": end.timestamp() if end else None,
                    "warmed": [each.data() for each in self._warmed.get(name, ())],
                }
            )
        return found

    async def close(self) -> None:
        for task in self._warming.values():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._warming.values(), return_exceptions=True)
