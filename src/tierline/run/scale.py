"""The autoscaler: instances come and go with the load, by hand, or for a season.

    loads (scale_load.py, scale_queues.py) → how many are needed (scale_rule.py) → another plan
    (plan/scaling.py) → applied to the running line without a failed request (change.py)

A number that was given by hand stays until it is given back; a season raises what there must be at least
(scale_season.py). A function with `min=0` has no process while nothing waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.errors import TierlineError
from tierline.plan.model import Plan, Role
from tierline.plan.scaling import SLOTS, Bounds, Key, bounds, checked, counts, firsts, scaled
from tierline.run.change import Changed, change
from tierline.run.scale_carried import Carried
from tierline.run.scale_load import Load, Loads
from tierline.run.scale_queues import Queues
from tierline.run.scale_rule import Decision, Rule
from tierline.run.scale_season import Seasons
from tierline.run.scale_shown import service

if TYPE_CHECKING:
    from tierline.run.child import Child
    from tierline.run.line import Line

_EVERY = 1.0
_ASLEEP_EVERY = 0.25
"""Seconds between two looks at queues whose function sleeps."""
_WINDOW = 3.0
_QUEUE = 10.0
"""Messages that may wait for each instance of a function, where its scale doesn't say."""
_BACK_OFF = 15.0
"""Seconds without another try after an instance could not start."""


class Scaler:
    """The instances of one line, for as long as `run` runs."""

    def __init__(self, line: Line, follow: bool = True) -> None:
        """follow: False leaves services and journeys as they are until somebody asks."""
        self.line = line
        self._follow = follow
        self.loads = Loads()
        self.carried = Carried(line, self.loads)
        self.queues = Queues(line)
        self.seasons = Seasons(self)
        self.wanted: dict[Key, int] = {}
        """Numbers that were decided; what isn't in it has its least."""
        self.pinned: dict[str, int] = {}
        """Numbers per zone that were given by hand."""
        self.reasons: dict[Key, tuple[float, str]] = {}
        self._rules: dict[Key, Rule] = {}
        self._rests: dict[Key, float] = {}
        self._busy: dict[str, float] = {}
        """When a function last had something to do."""
        self.depths: dict[str, int] = {}
        line.hearers += [self.loads.heard, self.carried.heard]
        line.scaler = self

    def adapted(self, plan: Plan) -> Plan:
        """A plan of the stack file with as many instances as there are now, where it still allows them."""
        return scaled(plan, self._numbers(plan))

    def _numbers(self, plan: Plan, more: Mapping[Key, int] | None = None) -> dict[Key, int]:
        wanted = {**self.wanted, **(more or {})}
        found = {}
        for key, role in firsts(plan).items():
            allowed = self._bounds(role)
            found[key] = min(max(wanted.get(key, allowed.min), allowed.min), allowed.max)
        return found

    def _bounds(self, role: Role) -> Bounds:
        """Of its scale, raised by the seasons that are on; by hand there is just one number."""
        allowed = bounds(role)
        if role.name in self.pinned:
            number = min(max(self.pinned[role.name], allowed.min), allowed.max)
            return Bounds(number, number)
        least = min(max(allowed.min, self.seasons.least(role)), allowed.max)
        asleep = allowed.min == 0 and self.wanted.get((role.name, role.zone), 0) == 0
        return Bounds(0 if asleep and least == 0 else least, allowed.max)

    async def run(self) -> None:
        """Look, decide and change until cancelled."""
        try:
            while True:
                asleep = await self._look()
                await self.seasons.look()
                await asyncio.sleep(_ASLEEP_EVERY if asleep else _EVERY)
        finally:
            await self.queues.close()
            await self.carried.close()

    async def _look(self) -> bool:
        """One look; whether something sleeps."""
        plan = self.line.plan
        now = time.monotonic()
        there = counts(plan)
        self.loads.forget(set(self.line.children))
        self.carried.forget()
        await self.carried.look()
        for child in self.line.children.values():
            if child.process.engine == "python":
                self.loads.look(child)
        decided: dict[Key, Decision] = {}
        by_name: dict[str, dict[Key, Role]] = {}
        for key, role in firsts(plan).items():
            by_name.setdefault(role.name, {})[key] = role
        for name, zones in by_name.items():
            role = next(iter(zones.values()))
            if not role.settings.get("scale") or name in self.pinned:
                continue
            if role.slot == "feature.function":
                decided |= await self._function(now, name, zones, there)
            elif self._follow:
                for key, first in zones.items():
                    found = await self._service(now, first, there[key], len(zones))
                    if found is not None and found.instances != there[key]:
                        decided[key] = found
        decided = {key: each for key, each in decided.items() if self._rests.get(key, 0) <= now}
        if decided:
            await self._apply(decided, there)
        return bool(self.line.plan.asleep)

    async def _service(self, now: float, role: Role, instances: int, zones: int) -> Decision | None:
        rule = self._rule(role)
        children = self.children(role.name, role.zone)
        if not rule.targets or any(child.phase != "ready" for child, _ in children):
            return None  # something is wrong there, or was taken away on purpose: nobody decides meanwhile
        loads = [self.loads.of(child.process.name, app, _WINDOW) for child, app in children]
        told = _together(loads)
        if "queue" in rule.targets:
            waits = await self.queues.waiting(role)
            if waits is not None:
                told["queue"] = waits[0] / zones
        found = rule.decide(now, instances, told)
        if found is None:
            return None
        allowed = self._bounds(role)
        return Decision(min(max(found.instances, allowed.min), allowed.max), found.why)

    async def _function(
        self, now: float, name: str, zones: dict[Key, Role], there: Mapping[Key, int]
    ) -> dict[Key, Decision]:
        """A function's instances in all zones: its queue is one."""
        role = next(iter(zones.values()))
        # A zone from which something was taken away gets none, while there is another.
        away = {child.process.zone for child in self.line.children.values() if not child.held.is_set()}
        zones = dict(sorted(zones.items(), key=lambda each: each[1].zone in away))
        waits = await self.queues.waiting(role)
        if waits is None:
            return {}
        self.depths[name] = waits[0]
        total = sum(there[key] for key in zones)
        if sum(waits) or name not in self._busy:
            self._busy[name] = now
        if total == 0:
            if not sum(waits):
                return {}
            first = next(iter(zones))
            return {
                first: Decision(1, f"{waits[0] or sum(waits)} {_messages(waits[0] or sum(waits))} waiting")
            }
        scale, allowed = role.settings["scale"], self._bounds(role)
        if allowed.min == 0 and now - self._busy[name] >= scale["idle"]:
            return {
                key: Decision(0, f"nothing waited for {scale['idle']:g} s, asleep")
                for key in zones
                if there[key]
            }
        rule = self._rule(role, {"min": allowed.min * len(zones), "max": allowed.max * len(zones)})
        loads = {"queue": float(waits[0])}
        if "cpu" in rule.targets:
            children = [each for zone in zones for each in self.children(*zone)]
            loads |= _together([self.loads.of(child.process.name, app, _WINDOW) for child, app in children])
        found = rule.decide(now, total, loads)
        if found is None:
            return {}
        spread = _spread(found.instances, list(zones), allowed)
        return {key: Decision(number, found.why) for key, number in spread.items() if number != there[key]}

    def _rule(self, role: Role, changed: Mapping[str, int] | None = None) -> Rule:
        key = (role.name, "" if changed else role.zone)
        settings = {**role.settings["scale"], **(changed or {"min": self._bounds(role).min})}
        if role.slot == "feature.function" and not settings["queue"] and not settings["cpu"]:
            settings["queue"] = _QUEUE
        rule = self._rules.get(key)
        if rule is None or rule.settings != settings:
            before, rule = rule, Rule(settings)
            self._rules[key] = rule
            if before is not None:
                rule.rest(time.monotonic())
        return rule

    def children(self, name: str, zone: str) -> list[tuple[Child, str]]:
        """The processes that play a name in a zone, and what the application is called in them."""
        found = []
        roles = self.line.plan.roles
        for child in self.line.children.values():
            for id in child.process.roles:
                role = roles.get(id)
                if role is not None and role.slot in SLOTS and (role.name, role.zone) == (name, zone):
                    found.append((child, name))
        return found

    async def _apply(self, decided: Mapping[Key, Decision], there: Mapping[Key, int]) -> None:
        before = dict(self.wanted)
        self.wanted |= {key: each.instances for key, each in decided.items()}
        try:
            await self.settle()
        except (TierlineError, OSError) as error:
            self.wanted = before
            for name, zone in decided:
                self._rests[(name, zone)] = time.monotonic() + _BACK_OFF
                self.line.events.tell("refused", f"{name} {zone}", f"stays at {there[(name, zone)]}: {error}")
            return
        now = counts(self.line.plan)
        for key, each in decided.items():
            if now[key] != there[key]:
                self.told(key, there[key], now[key], each.why)

    def told(self, key: Key, before: int, now: int, why: str) -> None:
        """Remember why, and tell it."""
        text = f"{before} → {now}, {why}" if before != now else f"{now}, {why}"
        self.reasons[key] = (time.time(), text)
        self.line.events.tell("scaled", " ".join(key), text)
        self.line.changed()

    async def settle(self) -> Changed:
        """Bring the line to the numbers that are wanted. Raises TierlineError; the line then is as it was."""
        async with self.line.changing:
            plan = scaled(self.line.plan, self._numbers(self.line.plan))
            if plan == self.line.plan:
                return Changed([], [], [], [])
            return await change(self.line, plan)

    async def pin(self, name: str, instances: int | None) -> dict[str, Any]:
        """Give a number by hand, or give it back to the rule (None)."""
        if instances is None:
            checked(self.line.plan, name)
        else:
            checked(self.line.plan, name, instances)
        before, there = self.pinned.get(name), counts(self.line.plan)
        if instances is None:
            self.pinned.pop(name, None)
            keep = {key: there[key] for key in there if key[0] == name}
        else:
            self.pinned[name] = instances
            keep = {key: instances for key in there if key[0] == name}
        was = dict(self.wanted)
        self.wanted |= keep
        try:
            done = await self.settle()
        except TierlineError:
            self.wanted = was
            self.pinned.pop(name, None)
            if before is not None:
                self.pinned[name] = before
            raise
        now = counts(self.line.plan)
        for key in keep:
            why = "by hand" if instances is not None else "given back to its scale"
            if now[key] != there[key] or instances is None:
                self.told(key, there[key], now[key], why)
            if key in self._rules:
                self._rules[key].rest(time.monotonic())
        found: dict[str, Any] = msgspec.to_builtins(done)
        return found

    def status(self) -> list[dict[str, Any]]:
        """Every service, function and the journeys, for `status`."""
        found: dict[str, list[Role]] = {}
        for role in firsts(self.line.plan).values():
            found.setdefault(role.name, []).append(role)
        return [service(self, roles) for roles in found.values()]


def _together(loads: list[Load]) -> dict[str, float]:
    """What instances of one zone carry together; the latency is the mean of all their answers."""
    found: dict[str, float] = {}
    if loads and all(load.rps is not None for load in loads):
        found["rps"] = sum(load.rps or 0.0 for load in loads)
        answered = [(load.rps or 0.0, load.latency or 0.0) for load in loads]
        many = sum(rps for rps, _ in answered)
        found["latency"] = sum(rps * latency for rps, latency in answered) / many if many else 0.0
    if known := [load.cpu for load in loads if load.cpu is not None]:
        # An instance that has only just started is left out: what it used says nothing yet.
        found["cpu"] = sum(known) / len(known) * len(loads)
    return found


def _spread(number: int, zones: list[Key], allowed: Bounds) -> dict[Key, int]:
    """So many over the zones, the first ones first."""
    found = dict.fromkeys(zones, allowed.min)
    for index in range(max(0, number - allowed.min * len(zones))):
        found[zones[index % len(zones)]] += 1
    return found


def _messages(number: int) -> str:
    return "message" if number == 1 else "messages"
