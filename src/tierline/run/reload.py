"""Reload in development: what is saved is live within a second, and no request is dropped.

    a file changed → which processes run it → their successors take over → copies of old answers are removed

What a file concerns: Python processes tell which files of the project they have imported; the stack file and what
it imports make another plan; `assets=` folders, schemas and the files that a command names are in the plan.
A mistake changes nothing: the process that runs goes on, and `status`, the log and the live view tell file, line
and message.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tierline.engines.python.voice import imported
from tierline.errors import EngineError, RunError, TierlineError
from tierline.run.change import change, restart
from tierline.run.child import Child
from tierline.run.replan import replan
from tierline.run.rolling import rolled
from tierline.run.spare import provide
from tierline.run.succession import Refused, able, succeed

if TYPE_CHECKING:
    from tierline.run.line import Line

_LOOK = 1.0
"""Seconds between two looks at which folders there are to watch."""
_GONE = 15.0
_SETTLE = 30
"""Milliseconds: an editor writes a file in several steps."""


class Reload:
    """Watches the files of a line, for as long as `run` runs."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._stack = line.state.stack
        self._project = self._stack.parent
        self._planned = {*imported(str(self._project)), str(self._stack)}
        """What the stack file consists of."""
        self._broken: dict[str, frozenset[str]] = {}
        """Processes whose successor could not start, and what it had imported."""
        self._providing: dict[Child, asyncio.Task[None]] = {}
        self._known: dict[str, tuple[int, int, int]] = {}

    async def run(self) -> None:
        """Watch and reload until cancelled."""
        self._changed(())
        self._provide()
        polling: bool | None = None
        while True:
            try:
                await self._watch(polling)
            except OSError as error:  # no more inotify watches, most likely
                if polling:
                    raise
                polling = True
                self._line.events.tell("polling", "reload", f"files are looked at in turns: {error}")

    async def _watch(self, polling: bool | None) -> None:
        from watchfiles import awatch

        while True:
            folders = self._folders()
            self._changed(())  # folders that are new here: what is in them now is known
            async for seen in awatch(
                *folders, watch_filter=None, debounce=_SETTLE * 4, step=_SETTLE, recursive=False,
                rust_timeout=int(_LOOK * 1000), yield_on_timeout=True, force_polling=polling,
            ):  # fmt: skip
                changed = self._changed(path for _, path in seen)
                if changed:
                    try:
                        async with self._line.changing:
                            await self._apply(changed)
                    except Exception as error:
                        self._line.events.tell("refused", "reload", str(error))
                self._provide()
                if self._folders() != folders:
                    break

    def _provide(self) -> None:
        """Each Python process has a spare beside it."""
        for child in self._line.children.values():
            going = self._providing.get(child)
            if child.process.voice and child.spare is None and (going is None or going.done()):
                self._providing[child] = asyncio.create_task(provide(child))

    def _folders(self) -> list[Path]:
        files = {*self._planned, *self._commands()}
        for child in self._line.children.values():
            files |= child.sources
        for sources in self._broken.values():
            files |= sources
        found = {self._project, *(Path(file).parent for file in files)}
        for folder in (*self._assets(), *self._schemas()):
            found.update([folder, *(each for each in folder.rglob("*") if each.is_dir())])
        return sorted(each for each in found if each.is_dir())

    def _assets(self) -> list[Path]:
        named = {role.settings.get("assets") for role in self._line.plan.roles.values() if role.slot == "cdn"}
        return [self._project / name for name in named if name]

    def _schemas(self) -> dict[Path, set[str]]:
        """Folders of .sql files, and the processes whose databases they are for."""
        found: dict[Path, set[str]] = {}
        for unit in self._line.plan.units:
            for role in unit.roles:
                if schema := role.settings.get("schema"):
                    found.setdefault(self._project / schema, set()).add(unit.id)
        return found

    def _commands(self) -> dict[str, list[Child]]:
        """Files of the project that a command names, and its processes."""
        found: dict[str, list[Child]] = {}
        for child in self._line.children.values():
            if child.process.engine == "python" and not child.process.voice:
                for word in child.process.argv:
                    path = self._project / word
                    if path.is_file() and path.is_relative_to(self._project):
                        found.setdefault(str(path), []).append(child)
        return found

    def _changed(self, paths: Iterable[str]) -> set[str]:
        """Which of these, and of all files that were known, are others than at the last look."""
        within = [*self._assets(), *self._schemas()]
        given = {
            path
            for path in paths
            if path.endswith(".py")
            or path in self._commands()
            or any(Path(path).is_relative_to(at) for at in within)
        }  # fmt: skip  what an application writes beside its sources is its own business
        changed = set()
        for path in {*given, *self._known, *self._planned, *self._sources()}:
            try:
                told = os.stat(path)  # noqa: PTH116  many files, often
                now = (told.st_mtime_ns, told.st_size, told.st_ino)
            except OSError:
                now = (0, 0, 0)
            if self._known.get(path) != now:
                if path in self._known or path in given:
                    changed.add(path)
                self._known[path] = now
        return changed

    def _sources(self) -> set[str]:
        return {file for child in self._line.children.values() for file in child.sources}

    async def _apply(self, changed: set[str]) -> None:
        began = time.monotonic()
        line = self._line
        done: list[str] = []
        if changed & self._planned:
            found = await replan(self._stack, line.plan)
            self._planned |= set(found.files)
            if found.plan is None:
                line.refused["stack"] = found.problem
                line.events.tell("refused", "stack", found.problem)
                return
            line.refused.pop("stack", None)
            plan = line.adapted(found.plan)
            if plan != line.plan:
                before = {child: child.pid for child in line.children.values()}
                try:
                    told = await change(line, plan)
                except TierlineError as error:
                    line.refused["stack"] = str(error)
                    line.events.tell("refused", "stack", str(error))
                    return
                done += [*told.added, *told.told, *told.restarted, *told.removed]
                fresh = {child for child, pid in before.items() if child.pid != pid}
            else:
                fresh = set()
        else:
            fresh = set()
        children = [child for child in self._concerned(changed) if child not in fresh]
        succeeded = [*children, *fresh]
        line.generation = f"{time.time_ns() // 1_000_000:x}"
        results = await asyncio.gather(*(self._succeed(child) for child in children))
        done += [child.process.name for child, well in zip(children, results, strict=True) if well]
        for file, named in self._commands().items():
            if file in changed:
                for child in named:
                    await rolled(line, child)
                    done.append(child.process.name)
        for folder, units in self._schemas().items():
            if any(Path(file).is_relative_to(folder) for file in changed):
                done += await self._migrate(units)
        assets = [each for each in changed if any(Path(each).is_relative_to(at) for at in self._assets())]
        if done or assets:
            await self._purge()
            self._again = asyncio.create_task(self._purge_again(succeeded))
            what = ", ".join(sorted(self._short(file) for file in changed))
            names = ", ".join(dict.fromkeys(done)) or "static files"
            line.events.tell("reloaded", names, f"{what}, live after {time.monotonic() - began:.2f} s")

    def _concerned(self, changed: set[str]) -> list[Child]:
        """Processes that run one of these files; and those whose last change was refused: it may be right now."""
        python = any(file.endswith(".py") for file in changed)
        return [
            child for name, child in self._line.children.items()
            if child.process.voice
            and (child.sources & changed or (name in self._broken and python) or (child.phase == "failed" and python))
        ]  # fmt: skip

    async def _succeed(self, child: Child) -> bool:
        name = child.process.name
        child.more["TIERLINE_GENERATION"] = self._line.generation
        try:
            if able(child):
                await succeed(child, child.process)
            else:
                await restart(child)
        except (RunError, EngineError) as error:
            self._broken[name] = error.sources if isinstance(error, Refused) else frozenset()
            child.problem = f"not reloaded, the code before still runs: {error}"
            self._line.events.tell("refused", name, str(error))
            return False
        self._broken.pop(name, None)
        return True

    async def _migrate(self, units: set[str]) -> list[str]:
        """New files of a schema are applied; one that was applied and has changed is told."""
        done = []
        for child in self._line.children.values():
            if child.process.name in units and child.process.after_ready:
                try:
                    await child.again()
                    done.append(child.process.name)
                    child.problem = ""
                except RunError as error:
                    child.problem = str(error)
                    self._line.events.tell("refused", child.process.name, str(error))
        return done

    async def _purge(self) -> None:
        """Remove copies of what the old code answered."""
        from tierline.run.purge import everywhere
        from tierline.tiers.cache.tier import Purge

        line = self._line
        if not any(role.tier in ("cache", "cdn") for role in line.plan.roles.values()):
            return
        try:
            done = await asyncio.to_thread(
                everywhere, line.plan, line.context, Purge((), ("/",), ()), line.runs
            )
        except (TierlineError, OSError) as error:
            line.events.tell("kept", "copies", f"old answers may be kept until they are stale: {error}")
            return
        for each in (each for each in done if not each["well"]):
            line.events.tell(
                "kept", each["role"], f"old answers may be kept until they are stale: {each['said']}"
            )

    async def _purge_again(self, children: list[Child]) -> None:
        """Once those that were succeeded are gone: what they were answering may have been stored meanwhile."""
        gone = {pid for child in children for pid in child.beside}
        if gone:
            deadline = time.monotonic() + _GONE
            while time.monotonic() < deadline and any(gone & child.beside for child in children):
                await asyncio.sleep(0.02)
            await self._purge()

    def _short(self, path: str) -> str:
        return str(Path(path).relative_to(self._project)) if path.startswith(str(self._project)) else path
