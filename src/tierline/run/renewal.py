"""Renewing a line's ACME certificate while it runs: asked for in time, and shown by every balancer at once."""

from __future__ import annotations

import asyncio
import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tierline.errors import TierlineError
from tierline.run.tasks import complain

if TYPE_CHECKING:
    from tierline.run.acme import Acme
    from tierline.run.line import Line

_LOOK = 60.0
"""Seconds between two looks whether it is time."""
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 3600.0
"""Seconds after a failure; doubled with each."""


class Renewal:
    """Of one line; `run` is a task beside it."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._failures = 0
        self.problem = ""

    def told(self) -> dict[str, Any] | None:
        """For status: whose certificate, until when, and what went wrong last."""
        acme = self._acme()
        if acme is None:
            return None
        return {
            "names": list(acme.names),
            "directory": acme.settings["directory"],
            "until": acme.until(),
            "renewed_from": acme.due(),
            "problem": self.problem,
        }

    def _acme(self) -> Acme | None:
        for role in self._line.plan.roles.values():
            if role.tier == "lb" and isinstance(role.settings["certificate"], dict):
                return self._line.context.acme_of(role.settings["certificate"])
        return None

    def check(self) -> None:
        """Raises RunError when a certificate is wanted and what asks for it isn't installed."""
        if (acme := self._acme()) is not None:
            acme.check()

    def _answering(self) -> list[tuple[str, int]]:
        """Where balancers that can't answer challenges by themselves send them."""
        return [
            self._line.addresses[(role.id, endpoint.name)]
            for role in self._line.plan.roles.values()
            for endpoint in role.endpoints
            if role.tier == "lb" and endpoint.name == "challenge"
        ]

    async def run(self) -> None:
        while True:
            acme = self._acme()
            wait = acme.due() - time.time() if acme is not None else _LOOK
            if acme is None or wait > 0:
                await asyncio.sleep(min(wait, _LOOK))
                continue
            try:
                await asyncio.to_thread(acme.renew, self._answering())
                async with self._line.changing:
                    await asyncio.to_thread(_files, self._line)
                self._failures, self.problem = 0, ""
            except (TierlineError, OSError) as error:
                self._failures += 1
                self.problem = str(error)
                complain(f"certificate of {', '.join(acme.names)}: {error}")
                await asyncio.sleep(min(_FIRST_WAIT * 2 ** (self._failures - 1), _LONGEST_WAIT))
            self._line.changed()


def _files(line: Line) -> None:
    """Every balancer's certificate file is what was issued last, and the balancer knows."""
    from tierline.run.line import processes

    for process in processes(line.plan, line.context):
        child = line.children.get(process.name)
        if child is None or not process.certificates:
            continue
        changed = {
            path: process.files[path]
            for path in process.certificates
            if child.process.files.get(path) != process.files[path]
        }
        if not changed:
            continue
        child.process = msgspec.structs.replace(child.process, files={**child.process.files, **changed})
        child.write(changed)
        if child.ready.is_set():
            live = importlib.import_module(f"tierline.engines.{process.engine}.live")
            for path in changed:
                live.certificate(Path(path))
