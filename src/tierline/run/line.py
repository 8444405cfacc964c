"""A running line: every process of a plan, supervised.

plan ─▶ addresses ─▶ processes (data) ─▶ children, started in order, as much at once as can be
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.engines.base import Engine, Process
from tierline.engines.unprivileged import account
from tierline.errors import EngineError, RunError, choices, nearest
from tierline.plan.budgets import patience
from tierline.plan.model import Plan, Unit
from tierline.run import filling, growth, guardian
from tierline.run.addresses import Addresses, check_privileges, choose
from tierline.run.child import Child
from tierline.run.context import LocalContext
from tierline.run.drops import Drops
from tierline.run.errors import Errors
from tierline.run.events import Events
from tierline.run.failover import Keeper, keep
from tierline.run.fetched import follow
from tierline.run.guarded import Guarded
from tierline.run.identity import boot
from tierline.run.isolation import Isolation
from tierline.run.leaving_out import reachable
from tierline.run.liveness import Liveness, default
from tierline.run.renewal import Renewal
from tierline.run.state import State
from tierline.run.tasks import Tasks
from tierline.run.urls import urls
from tierline.tiers.base import system

if TYPE_CHECKING:
    from tierline.run.scale import Scaler


def engine(name: str) -> Engine:
    """The engine `engines/<name>/`."""
    found: Engine = importlib.import_module(f"tierline.engines.{name}.engine").ENGINE
    return found


def processes(plan: Plan, context: LocalContext) -> list[Process]:
    """Every process of the plan, as data. Raises EngineError for a program that isn't installed."""
    found = []
    for unit in reachable(plan, context.left_out).units:
        said = [role.settings for role in unit.roles if role.settings.get("raw") and role.part != "origin"]
        raw = {each["raw_at"]: each["raw"] for each in said}
        found += [
            msgspec.structs.replace(
                default(process),
                raw=raw,
                hang_after=_hang_after(unit, plan),
                ready_timeout=_start_timeout(unit, process),
            )
            for process in engine(unit.engine).processes(unit, context)
        ]
    return found


def _start_timeout(unit: Unit, process: Process) -> float:
    """The most of what its services say, else what its engine says."""
    said = [role.settings["start_timeout"] for role in unit.roles if role.slot == "feature.service"]
    return max(said, default=process.ready_timeout)


def _hang_after(unit: Unit, plan: Plan) -> float:
    """The least of what its services say, else what the stack says."""
    said = [role.settings.get("hang_after") for role in unit.roles if role.slot == "feature.service"]
    return min((each for each in said if each is not None), default=plan.hang_after)


def ordered(plan: Plan, listed: list[Process]) -> list[Process]:
    """The processes, each edge tier starting after what it sends requests to.

    Balancers, caches and the name service check what is behind them or remember who failed: started too early,
    they would send the first clients away. A gateway whose engine doesn't check remembers nobody before it is
    asked, so it starts at once and who stands before it waits for what is behind it, too.
    """
    roles = plan.roles
    owner = {role: process.name for process in listed for role in process.roles}

    def behind(role: str) -> set[str]:
        found = set()
        for upstreams in roles[role].upstreams.values():
            for upstream in upstreams:
                found.add(owner[upstream.role])
                if roles[upstream.role].tier == "gateway":
                    found |= behind(upstream.role)
        return found

    waits: dict[str, set[str]] = {}
    for process in listed:
        waits[process.name] = set(process.after)
        for role in process.roles:
            if process.checks or roles[role].tier in ("dns", "cdn", "lb", "cache"):
                waits[process.name] |= behind(role)
        waits[process.name].discard(process.name)

    def leads(start: str, end: str) -> bool:
        """Whether one process waits for another, however far behind it."""
        seen: set[str] = set()
        left = [start]
        while left:
            each = left.pop()
            if each == end:
                return True
            if each not in seen:
                seen.add(each)
                left += waits.get(each, ())
        return False

    result = []
    for process in listed:
        # One engine may stand both before and behind another (balancer and gateway around a cache): the front
        # doesn't wait for what waits for its back.
        waits[process.name] -= {each for each in waits[process.name] if leads(each, process.name)}
        result.append(msgspec.structs.replace(process, after=tuple(sorted(waits[process.name]))))
    return result


def _runnable(unit: Unit) -> None:
    """Raises EngineError when a unit's system only deploys or its program isn't installed."""
    slot, name = unit.roles[0].slot, unit.roles[0].system
    if not unit.engine:
        instead = system(slot, name).stand_in
        choice = f"{instead} stands in for it" if instead else "choose another"
        raise EngineError(
            f"{slot}={name} can't run here, it only deploys: {choice} with --use {slot}={instead or 'SYSTEM'}"
        )
    try:
        engine(unit.engine).binary()
    except EngineError as error:
        raise EngineError(f"{slot}={name} can't run here: {error}") from None


_STORAGE_EVERY = 1.0
"""Seconds between two looks at what can't be written."""
_WAVES = {
    "client": 0, "dns": 0, "cdn": 0, "lb": 1, "cache": 2, "gateway": 3, "experience": 4, "feature": 4, "core": 5,
    "domain": 5, "analytics": 6,
}  # fmt: skip
"""In which order tiers stop. A tier that isn't there costs nothing."""


class Line:
    """The supervisor of one stack's processes."""

    def __init__(self, plan: Plan, state: State, ports: Mapping[str, int] | None = None) -> None:
        self.plan = plan
        self.state = state
        self._ports = ports
        self.children: dict[str, Child] = {}
        self.addresses: Addresses
        self.context: LocalContext
        self.began = time.time()
        self.ready_in = 0.0
        self.phase = "starting"
        self.renewal = Renewal(self)
        self._guarded = Guarded(state)
        self._changed = asyncio.Event()
        self.changing = asyncio.Lock()
        """Held while the line is being changed."""
        self.events = Events(state.folder("logs") / "events.log", state.storage)
        self.tasks = Tasks(lambda name, problem: self.events.tell("fault", name, problem))
        self.hearers: list[Callable[[Child, dict[str, Any]], None]] = []
        """Who is told what processes say."""
        self.scaler: Scaler | None = None
        self.adaptations: list[Callable[[Plan], Plan]] = []
        """What a plan of the stack file is made into before it is applied."""
        self.refused: dict[str, str] = {}
        """What could not be applied, by what it is about."""
        self.keepers: dict[str, Keeper] = {}
        """Who looks after processes that hold the same data, by the cluster's name."""
        self.isolation = Isolation(self)
        self.errors = Errors(self)
        self.hearers += [self.isolation.heard, self.errors.heard, Drops(self).heard]
        self.generation = ""
        """Which state of the sources runs: what the code before has kept is not used again."""

    def adapted(self, plan: Plan) -> Plan:
        """A plan as this run of the line needs it, with as many instances as there are now."""
        for adaptation in self.adaptations:
            plan = adaptation(plan)
        return self.scaler.adapted(plan) if self.scaler is not None else plan

    def prepare(self) -> None:
        """Everything that can fail before anything starts: programs, ports, configuration."""
        for unit in self.plan.units:
            _runnable(unit)
        self.addresses = choose(self.plan, self.state, self._ports)
        self.context = LocalContext(self.plan, self.state, self.addresses)
        self.renewal.check()
        listed = ordered(self.plan, processes(self.plan, self.context))
        check_privileges(self.addresses, listed)
        names = {process.name for process in listed}
        self.children = {process.name: Child(process, self.state, self.changed) for process in listed}
        self._check_owners(listed)
        for process in listed:
            for name in process.after:
                if name not in names:
                    raise RunError(f"{process.name} starts after {name}, which isn't part of the line")

    def _check_owners(self, listed: list[Process]) -> None:
        """Raises RunError for data that isn't of who a process runs as: a copy that has lost its owners."""
        if os.geteuid() != 0:
            return
        user, _ = account()
        for process in listed if self.state.root.joinpath("data").is_dir() else ():
            for folder in process.folders if process.unprivileged else ():
                below = Path(folder).is_relative_to(self.state.root / "data") and Path(folder).is_dir()
                for entry in os.scandir(folder) if below else ():
                    if entry.is_dir(follow_symlinks=False) and entry.stat().st_uid != user:
                        raise RunError(
                            f"{entry.path} doesn't belong to the account that {process.name} runs as: this state folder was "
                            "copied without its owners; copy it again with cp -a, or remove the data with tierline down --volumes"
                        )

    async def start(self) -> None:
        """Start everything; returns when all are ready. Raises RunError with the first problem."""
        if self.state.copied:
            self.events.tell(
                "note", self.state.root.name,
                f"it is a copy of {self.state.copied}, with its data, secrets and certificates; what was copied while that "
                "line ran may be torn: tierline down --volumes starts with nothing",
            )  # fmt: skip
        self._guarded.start()
        self.tasks.keep("guardian", self._guarded.watch)
        self._save()
        for child in self.children.values():
            self.launch(child)
        ready = asyncio.create_task(self._all_ready())
        failed = asyncio.create_task(self._first_failure())
        try:
            await asyncio.wait({ready, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                raise RunError(failed.result())
        finally:
            failed.cancel()
            ready.cancel()
        self.ready_in = time.time() - self.began
        self.phase = "ready"
        self.tasks.keep("documents", lambda: follow(self))
        told = (self.events.tell, self.changing, self.changed, self.keepers, self.tasks)
        self.tasks.keep("failover", lambda: keep(self.children, self.described, *told))
        self.tasks.keep("memory limits", lambda: filling.watch(self))
        self.tasks.keep("log sizes", lambda: growth.watch(self))
        self.tasks.keep("liveness", lambda: Liveness(self).run())
        self.tasks.keep("health", self.errors.watch)
        self.tasks.keep("storage", self._watch_storage)
        self._save()

    async def _watch_storage(self) -> None:
        """What can't be written is shown by `status`, and written once there is room again."""
        told = False  # what was said last: others look, and write what could not be written, in between
        while True:
            await asyncio.sleep(_STORAGE_EVERY)
            self.state.storage.look()
            if now := self.state.storage.status():
                self._save()
            if bool(now) != told:
                told = bool(now)
                said = "; ".join(f"{each['what']}: {each['problem']}" for each in now)
                self.events.tell(
                    "unwritten" if now else "written", "files", said or "files can be written again"
                )

    def described(self) -> dict[str, Process]:
        """The processes as their engines describe them now."""
        return {process.name: process for process in ordered(self.plan, processes(self.plan, self.context))}

    def launch(self, child: Child) -> None:
        """Keep a process running from now on, once those before it are ready."""
        child.heard, child.died = self._hear, self._died
        if child.process.note:
            self.events.tell("note", child.process.name, child.process.note)
        before = [self.children[name] for name in child.process.after]
        self.tasks.keep(child.process.name, lambda: child.run(before))

    def _hear(self, child: Child, message: dict[str, Any]) -> None:
        for hearer in self.hearers:
            try:
                hearer(child, message)
            except Exception as error:  # whatever a process says
                self.tasks.fault(child.process.name, error)

    def _died(self, child: Child, pid: int, code: int) -> None:
        try:
            self.isolation.died(child, pid, code)
        except Exception as error:  # it only explains the end
            self.tasks.fault(child.process.name, error)

    async def drop(self, child: Child, within: float = 0.0) -> None:
        """Stop a process for good. within: seconds for what it is still answering, where nobody waits for the end."""
        if within:
            await child.retire(within)
        await child.stop()
        self.children.pop(child.process.name, None)
        self.changed()

    async def _all_ready(self) -> None:
        for child in self.children.values():
            await child.ready.wait()

    async def _first_failure(self) -> str:
        while True:
            for child in self.children.values():
                if child.phase == "failed":
                    return child.problem
            self._changed.clear()
            await self._changed.wait()

    async def stop(self) -> None:
        """Stop everything: what is in front first, so that nobody is refused by what is still asked."""
        self.phase = "stopping"
        self.tasks.cancel()
        for wave in self._front_to_back():
            # One that can't be stopped in order (no descriptor left) is ended below: it keeps no other from it.
            for each in await asyncio.gather(*(child.stop() for child in wave), return_exceptions=True):
                if isinstance(each, Exception):
                    self.tasks.fault("stop", each)
        await self.tasks.ended()
        self._guarded.end()

    def _front_to_back(self) -> list[list[Child]]:
        """Processes by where they stand in a request's way: once those in front have answered what they had, nobody
        asks those behind. Who reads other processes' files goes last."""
        roles = self.plan.roles
        waves: dict[int, list[Child]] = {}
        for child in self.children.values():
            tiers = [roles[role].tier for role in child.process.roles if role in roles]
            wave = min((_WAVES[tier] for tier in tiers), default=_WAVES["feature"])
            # Queues and buckets are features too, and what the services stand on.
            if tiers and wave == _WAVES["feature"] and child.process.engine != "python":
                wave = _WAVES["core"]
            waves.setdefault(wave, []).append(child)
        return [waves[number] for number in sorted(waves)]

    def named(self, name: str) -> list[Child]:
        """The process of this name, or those that play the role (`catalog.a`), service or resource (`catalog`).

        A service comes before a queue that is called the same. Raises RunError when there is none.
        """
        if name in self.children:
            return [self.children[name]]
        meant = [role for role in self.plan.roles.values() if name in (role.id, role.name)]
        services = [role for role in meant if role.slot in ("feature.service", "feature.function")]
        roles = {role.id for role in services or meant}
        found = [child for child in self.children.values() if roles.intersection(child.process.roles)]
        if not found:
            named = {*self.children, *(role.name for role in self.plan.roles.values())}
            names = {*named, *self.plan.roles}
            raise RunError(f"no part {name!r}{nearest(name, names)} there are: {choices(named)}")
        return found

    def runs(self, role: str) -> bool:
        """Whether a process that plays the role is there, answering or not."""
        return any(child.pids for child in self.children.values() if role in child.process.roles)

    def status(self) -> dict[str, Any]:
        """What `tierline status --json` prints."""
        roles = self.plan.roles  # a process that is on its way out may play none of them
        return {
            "stack": self.plan.stack,
            "domain": self.plan.domain,
            "region": self.plan.region,
            "zones": list(self.plan.zones),
            "places": list(self.plan.places),
            "pid": os.getpid(),
            "started": guardian.start_time(os.getpid()),
            "phase": self.phase,
            "since": self.began,
            "ready_in": round(self.ready_in, 3),
            "lineup": self.plan.lineup,
            "fusion": self.plan.fusion,
            "urls": urls(self),
            "patience": patience(self.plan),
            "certificate": self.renewal.told(),
            "addresses": self.addresses.data(),
            "refused": self.refused,
            "unwritten": self.state.storage.status(),
            "events": self.events.last(),
            "services": self.scaler.status() if self.scaler is not None else [],
            "seasons": self.scaler.seasons.status() if self.scaler is not None else [],
            "clusters": [told for each in self.keepers.values() if (told := each.status()) is not None],
            "processes": [
                {
                    "name": child.process.name,
                    "engine": child.process.engine,
                    "roles": list(child.process.roles),
                    "tiers": [roles[role].tier for role in child.process.roles if role in roles],
                    "zone": child.process.zone or child.process.region,
                    "pid": child.pid if child.phase in ("starting", "ready") else 0,
                    "phase": "hung"
                    if (child.hung or child.silent) and child.phase == "ready"
                    else child.phase,
                    "began": child.began,
                    "restarts": max(0, child.restarts),
                    "ready_in": round(child.ready_after, 3),
                    "problem": child.problem,
                    "delay": max(
                        (each.told() for each in child.delays), key=lambda told: told["seconds"], default=None
                    ),
                    "filling": child.filling and {"used": child.filling.used, "most": child.filling.most},
                    "errors": self.errors.of(child),
                    "notice": child.notice[1] if child.notice[0] > time.time() else "",
                }
                for child in self.children.values()
            ],
        }

    def changed(self) -> None:
        self._changed.set()
        pids = {pid for child in self.children.values() for pid in child.pids}
        self._guarded.removes(path for child in self.children.values() for path in child.process.leftovers)
        if self._guarded.are(pids) or self.phase == "ready":
            self._save()

    def _save(self) -> None:
        try:
            told = self.status()
        except Exception as error:  # whoever called has something else to do
            self.tasks.fault("status", error)
            return
        self.state.write(
            {**told, "line": self.state.line, "boot": boot(), "guarded": list(self._guarded.known.items())}
        )
