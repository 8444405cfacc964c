"""One tier of a line in front of an origin of the test's own: planned and started as `up` does it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines import unprivileged
from tierline.engines.base import Process
from tierline.lineups import choose
from tierline.plan.model import Endpoint, Plan, Role, Unit, Upstream
from tierline.plan.resolve import resolve
from tierline.run import probe
from tierline.run.addresses import Addresses
from tierline.run.addresses import choose as ports
from tierline.run.context import LocalContext
from tierline.run.line import engine
from tierline.run.state import State
from tierline.stack import Stack
from tierline.tiers.cache.tier import HTTPCache
from tierline.tiers.cdn.tier import CDN
from tierline.tiers.dns.tier import DNS
from tierline.tiers.feature.tier import Service
from tierline.trips.hop import Hop
from tierline.trips.normalise import hop
from waiting import eventually

ORIGIN = Role(
    id="origin", name="origin", tier="feature", slot="feature.service", system="process", engine="", region="eu-west-1",
    endpoints=(Endpoint("origin", "http", "http"),),
)  # fmt: skip


class Line:
    """The processes of one tier, alone."""

    def __init__(self, tier: str, system: str, origin: int, root: Path, **settings: Any) -> None:
        intents: dict[str, Any] = (
            {"cache": HTTPCache(**settings)} if tier == "cache" else {"cdn": CDN(**settings)}
        )
        # Something must be behind a tier; the origin takes its place.
        behind = [Service("behind", "app:app", expose=["/"])]
        stack = Stack("test", dns=DNS("cache.test"), services=behind, zones=("a",), **intents)
        plan = resolve(stack, choose("embedded", [f"{tier}={system}"]))
        self.state = State(root / "stack.py")
        self.state.root.mkdir(parents=True)
        units = [self._before_origin(unit) for unit in plan.units if unit.roles[0].tier == tier]
        self.plan: Plan = msgspec.structs.replace(plan, units=tuple(units))
        found = dict(ports(self.plan, self.state).items())
        self.context = LocalContext(
            msgspec.structs.replace(self.plan, units=(*units, _unit())),
            self.state,
            Addresses({**found, ("origin", "http"): ("127.0.0.1", origin)}),
        )
        self.roles = [role for unit in units for role in unit.roles]
        self.running: list[tuple[Process, subprocess.Popen[bytes]]] = []

    @property
    def address(self) -> tuple[str, int]:
        return self.context.address(self.roles[0].id, "http")

    def hops(self, trace: str) -> list[Hop]:
        """The hops of a trace that have been told so far."""
        lines = [
            line
            for path in self.state.folder("hops").glob("*.jsonl")
            for line in path.read_bytes().splitlines()
        ]
        return [found for line in lines if (found := hop(line)) is not None and found.trace == trace]

    def _before_origin(self, unit: Unit) -> Unit:
        behind = (Upstream("origin", "http", 0),)
        roles = tuple(
            msgspec.structs.replace(
                role,
                upstreams={**{k: v for k, v in role.upstreams.items() if k == "assets"}, "origin": behind},
            )
            if role.part != "origin"
            else role
            for role in unit.roles
        )
        return msgspec.structs.replace(unit, roles=roles)

    def start(self) -> None:
        # As `up` does: who is asked starts before who asks.
        for unit in sorted(self.plan.units, key=lambda unit: unit.roles[0].part != "origin"):
            for process in engine(unit.engine).processes(unit, self.context):
                self._start(process)

    def _start(self, process: Process) -> None:
        for folder in process.folders:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._give(folder, process)
        for name, text in process.files.items():
            Path(name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            Path(name).write_text(text)
            Path(name).chmod(0o600)
            self._give(name, process)
        for name in process.writes:
            Path(name).touch(mode=0o600)
            self._give(name, process)
        for step in process.before_start:
            subprocess.run(self._argv(step.argv, step.unprivileged), check=True, env={**os.environ, **process.env},
                           cwd=process.cwd)  # fmt: skip
        if process.check:
            checked = subprocess.run(self._argv(process.check, process.unprivileged), capture_output=True, text=True,
                                     env={**os.environ, **process.env}, cwd=process.cwd, check=False)  # fmt: skip
            assert checked.returncode == 0, checked.stdout + checked.stderr
        log = self.state.folder("logs") / f"{process.name}.log"
        out = Path(process.stdout) if process.stdout else log
        popen = subprocess.Popen(
            self._argv(process.argv, process.unprivileged), stdin=subprocess.DEVNULL, stdout=out.open("ab"),
            stderr=log.open("ab"), env={**os.environ, **process.env}, cwd=process.cwd, start_new_session=True,
        )  # fmt: skip
        self.running.append((process, popen))

        def ready() -> bool:
            assert popen.poll() is None, log.read_text(errors="replace")[-4000:]
            return asyncio.run(probe.answers(process.ready))

        assert eventually(ready), log.read_text(errors="replace")[-4000:]
        for step in process.after_ready:
            subprocess.run(self._argv(step.argv, step.unprivileged), check=True, env={**os.environ, **process.env},
                           cwd=process.cwd)  # fmt: skip

    @staticmethod
    def _argv(argv: tuple[str, ...], drop: bool) -> tuple[str, ...]:
        if drop and os.geteuid() == 0:
            return (sys.executable, "-I", "-S", unprivileged.__file__, *argv)
        return argv

    @staticmethod
    def _give(path: str, process: Process) -> None:
        if process.unprivileged and os.geteuid() == 0:
            os.chown(path, *unprivileged.account())

    def stop(self) -> None:
        for process, popen in reversed(self.running):
            popen.send_signal(getattr(signal, f"SIG{process.stop_signal}"))
            with contextlib.suppress(subprocess.TimeoutExpired):
                popen.wait(process.stop_timeout + 2)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
        self.running.clear()
        shutil.rmtree(self.state.root, ignore_errors=True)


def _unit() -> Unit:
    return Unit(id="origin", engine="", region="eu-west-1", zone="a", roles=(ORIGIN,))
