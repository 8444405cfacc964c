"""Applications that share a process, told apart when one of them harms the others.

Blocked loops and growing memory are told by the process itself. When it dies, what its applications were doing is
read from the file that it leaves, and the stack from its log; an application that was at work in three deaths in a
row gets processes of its own, so that the others are left alone.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tierline.engines.python import flying
from tierline.errors import TierlineError
from tierline.plan.fusion import apart
from tierline.run.change import change
from tierline.run.child import Child

if TYPE_CHECKING:
    from tierline.run.line import Line

_DEATHS = 3
_WITHIN = 60.0
"""Seconds in which so many deaths get an application processes of its own."""
_START = "its start"
"""What an application is doing while it is imported and started (engines/python/__main__.py)."""
_SHOWN = 60.0
"""Seconds for which what was told stays with the process in `status`."""
_FRAME = re.compile(r'  File "([^"]+)", line (\d+) in (\S+)')


class Isolation:
    """One per line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._told: dict[str, dict[str, Any]] = {}
        """By process: its file of what it is doing, its applications' modules, what it said before its end."""
        self._deaths: dict[str, list[tuple[float, frozenset[str], bool]]] = {}
        self._splitting: set[asyncio.Task[None]] = set()

    def heard(self, child: Child, message: dict[str, Any]) -> None:
        """What a process says of its applications."""
        name = child.process.name
        if "flying" in message:
            self._told.setdefault(name, {})[message["flying"]] = message
        elif "failed" in message:
            self._told.setdefault(name, {})["failed"] = message
        elif message.get("told") == "ending":
            self._told.setdefault(name, {})["ending"] = message
        elif message.get("told") in ("blocked", "grows"):
            who = message["app"] or ("an application" if message["told"] == "blocked" else "")
            self._say(child, message["told"], f"{who} {message['text']}".strip())

    def _say(self, child: Child, what: str, text: str) -> None:
        self._line.events.tell(what, child.process.name, text)
        child.notice = (time.time() + _SHOWN, text)
        self._line.changed()

    def died(self, child: Child, pid: int, code: int) -> None:
        """A process ended by itself."""
        name = child.process.name
        told = self._told.get(name, {})
        path = next((each for each in told if each.endswith(f"flying-{pid}")), "")
        about = told.pop(path, {})
        ending = told.pop("ending", None)
        failed = told.pop("failed", {})
        doing = flying.read(Path(path)) if path else []
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if failed.get("pid") == pid:
            how = f"{how}: {failed['failed']['text']}"
        apps = {app for app, _, _ in doing}
        at, blamed = self._stack(child, about.get("targets", {})) if code < 0 and code != -9 else ("", "")
        if ending is not None:
            suspects, how = frozenset([ending["app"]]) - {""}, f"{how}: {ending['app']} {ending['text']}"
        elif blamed:
            suspects, how = frozenset([blamed]), f"{how} in {blamed}, at {at}"
        else:
            # The journeys wait for whom they call.
            suspects = frozenset(apps - {"experience"} or apps)
            how = f"{how} at {at}" if at else how
        serving = "; ".join(
            f"{what} of {app}" if what != _START else f"at the start of {app}" for app, what, _ in doing[:5]
        )
        text = f"{how}; it was serving {serving}" if serving else how
        if len(doing) > 5:
            text += f" and {len(doing) - 5} more"
        self._say(child, "died", text)
        starting = any(what == _START and app in suspects for app, what, _ in doing)
        self._count(child, suspects, starting)

    def _stack(self, child: Child, targets: dict[str, str]) -> tuple[str, str]:
        """From the dump that faulthandler has left in the log: the line of the project, and whose it is."""
        tail = child.tail(200)
        _, fatal, dump = tail.rpartition("Fatal Python error:")
        if not fatal:
            return "", ""
        project = str(self._line.state.stack.parent)
        at, app = "", ""
        current = dump.partition("Current thread")[2].partition("Thread 0x")[0]
        for file, number, function in _FRAME.findall(current.replace("  | ", "")):
            if file.startswith(project) and "site-packages" not in file:
                at = at or f"{Path(file).relative_to(project)}:{number} (in {function})"
                module = ".".join(Path(file).relative_to(project).with_suffix("").parts)
                app = app or next((name for name, target in targets.items() if target == module), "")
        return at, app

    def _count(self, child: Child, suspects: frozenset[str], starting: bool) -> None:
        name, now = child.process.name, time.time()
        deaths = [each for each in self._deaths.get(name, []) if now - each[0] < _WITHIN]
        deaths.append((now, suspects, starting))
        self._deaths[name] = deaths
        if len(deaths) < _DEATHS:
            return
        always = frozenset.intersection(*(each for _, each, _ in deaths[-_DEATHS:]))
        here = {
            self._line.plan.roles[role].name for role in child.process.roles if role in self._line.plan.roles
        }
        if len(always) == 1 and always <= here and len(here) > 1:
            (app,) = always
            self._deaths.pop(name)
            task = asyncio.create_task(self._split(child, app, starting))
            self._splitting.add(task)
            task.add_done_callback(self._splitting.discard)

    async def _split(self, child: Child, app: str, starting: bool) -> None:
        line = self._line
        line.adaptations.append(partial(apart, name=app))
        try:
            async with line.changing:
                # One that can't even start is taken out all the same: the others shall live.
                await change(line, line.adapted(line.plan), waits=not starting)
        except TierlineError as error:
            line.adaptations.pop()
            self._say(child, "refused", f"{app} could not get processes of its own: {error}")
            return
        text = (
            f"{app} was at work in {_DEATHS} deaths of {child.process.name} in a row: it has processes of its own "
            f"now, until down; Service({app!r}, fuse=False) does that for good"
        )
        self._say(line.children.get(child.process.name, child), "isolated", text)
