"""A tiny runner: carries out the engines' process data as the supervisor does, one unit at a time."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ports import free_port
from tierline.engines import unprivileged
from tierline.engines.base import Engine, Probe, Process, Step
from tierline.plan.model import Endpoint, Plan, Ref, Role, Text, Unit
from tierline.run.authority import Authority
from waiting import PATIENCE, eventually


def make_role(name: str, slot: str, engine: str, endpoints: tuple[str, ...], **more: Any) -> Role:
    """A role of the plan with its endpoints."""
    part = more.get("part", "")
    identity = f"{name}.{part}" if part else name
    return Role(
        id=identity,
        name=name,
        tier=slot.split(".")[0],
        slot=slot,
        system="embedded",
        engine=engine,
        region="eu-west-1",
        endpoints=tuple(Endpoint(identity, endpoint, "tcp") for endpoint in endpoints),
        **more,
    )


def make_unit(identity: str, *roles: Role) -> Unit:
    """A unit of these roles; the ports belong to its first role, as in a real plan they may."""
    return Unit(id=identity, engine=roles[0].engine, region="eu-west-1", zone="", roles=roles)


class LocalContext:
    """The context of a line in one temporary folder."""

    def __init__(self, root: Path, units: tuple[Unit, ...]) -> None:
        self.root = root
        self.plan = Plan(
            stack="test",
            domain="test.test",
            region="eu-west-1",
            zones=(),
            places=(),
            lineup={},
            entry=(),
            units=units,
        )
        self._ports: dict[tuple[str, str], int] = {}
        self._secrets: dict[str, str] = {}

    def address(self, role: str, endpoint: str) -> tuple[str, int]:
        unit = next(unit for unit in self.plan.units if any(one.id == role for one in unit.roles))
        key = (unit.id, endpoint)
        if key not in self._ports:
            self._ports[key] = free_port()
        return "127.0.0.1", self._ports[key]

    def move(self) -> None:
        """Other ports from now on, as a later `up` may choose."""
        self._ports.clear()

    def text(self, text: Text) -> str:
        return "".join(part if isinstance(part, str) else self.attribute(part) for part in text.parts)

    def attribute(self, ref: Ref) -> str:
        raise KeyError(ref.attribute)

    def folder(self, unit: str) -> Path:
        return self._made("run", unit)

    def data(self, unit: str) -> Path:
        return self._made("data", unit)

    def hops(self, unit: str) -> Path:
        return self._made("hops", unit) / "hops.jsonl"

    def secret(self, name: str) -> str:
        return self._secrets.setdefault(name, secrets.token_hex(16))

    def certificate(self, *names: str) -> tuple[Path, Path]:
        raise NotImplementedError

    def peers(self, unit: str) -> tuple[Path, Path, Path]:
        return Authority(self._made("peers", unit)).peers()

    @property
    def authority(self) -> Path:
        raise NotImplementedError

    @property
    def project(self) -> Path:
        return self._made("project", "")

    @property
    def python(self) -> str:
        return sys.executable

    def _made(self, *parts: str) -> Path:
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path


class Runner:
    """Starts, kills and stops processes."""

    def __init__(self, context: LocalContext) -> None:
        self.context = context
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[Process] = []
        self.ran: list[str] = []
        """What each step was about, for those that really ran."""
        self.took: dict[str, float] = {}
        """Seconds until ready, steps included, by process."""

    def start(self, engine: Engine, unit: Unit) -> list[Process]:
        processes = engine.processes(unit, self.context)
        for process in processes:
            self._start(process)
        return processes

    def log(self, name: str) -> str:
        return (self.context.root / f"{name}.log").read_text(errors="replace")

    def kill(self, name: str) -> None:
        popen = self.running.pop(name)
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()

    def stop(self, process: Process) -> float:
        """Seconds that stopping took; by force after the process's own time limit."""
        popen = self.running.pop(process.name)
        start = time.monotonic()
        popen.send_signal(getattr(signal, f"SIG{process.stop_signal}"))
        try:
            popen.wait(process.stop_timeout)
        except subprocess.TimeoutExpired:
            os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
        return time.monotonic() - start

    def close(self) -> None:
        """Gracefully, so that no shared memory stays behind either."""
        for process in reversed(self.started):
            if process.name in self.running:
                self.stop(process)

    def _start(self, process: Process) -> None:
        begin = time.monotonic()
        for folder in process.folders:
            Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._give(Path(folder), process.unprivileged)
        for name, text in process.files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text)
            Path(name).chmod(0o600)
            self._give(Path(name), process.unprivileged)
        env = {**os.environ, **process.env}
        log = self.context.root / f"{process.name}.log"
        for step in process.before_start:
            self._step(step, env)
        with log.open("ab") as output:
            popen = subprocess.Popen(
                self._argv(process.argv, process.unprivileged),
                env=env,
                cwd=process.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.running[process.name] = popen
        self.started.append(process)
        eventually(
            lambda: answers(process.ready) or popen.poll() is not None, max(process.ready_timeout, PATIENCE)
        )
        assert popen.poll() is None and answers(process.ready), log.read_text(errors="replace")
        for step in process.after_ready:
            self._step(step, env)
        self.took[process.name] = time.monotonic() - begin

    def _step(self, step: Step, env: dict[str, str]) -> None:
        if step.unless and Path(step.unless).exists():
            return
        done = subprocess.run(
            self._argv(step.argv, step.unprivileged),
            env={**env, **step.env},
            capture_output=True,
            text=True,
            timeout=step.timeout,
            check=False,
        )
        if done.returncode:
            for folder in step.rewinds:
                shutil.rmtree(folder, ignore_errors=True)
            raise StepFailed(done.stdout + done.stderr)
        self.ran.append(step.about)
        self.ran.extend(line for line in done.stdout.splitlines() if line)
        if step.creates:
            Path(step.creates).touch()

    @staticmethod
    def _argv(argv: tuple[str, ...], drop: bool) -> tuple[str, ...]:
        if drop and os.geteuid() == 0:
            return (sys.executable, "-I", "-S", unprivileged.__file__, *argv)
        return argv

    @staticmethod
    def _give(path: Path, unprivileged_: bool) -> None:
        if unprivileged_ and os.geteuid() == 0:
            os.chown(path, *unprivileged.account())


class StepFailed(Exception):
    """A step's output."""


def answers(probe: Probe) -> bool:
    """Whether the process answers now."""
    if probe.kind == "none":
        return True
    if probe.kind == "exec":
        return subprocess.run(probe.argv, capture_output=True, check=False).returncode == 0
    host, _, port = probe.target.removeprefix("http://").partition("/")[0].rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1) as sock:
            sock.settimeout(1)
            if probe.kind == "tcp":
                return True
            if probe.kind == "redis":
                sock.sendall(b"PING\r\n")
                return sock.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            if probe.kind == "nats":
                return sock.recv(4).startswith(b"INFO")
            path = "/" + probe.target.removeprefix("http://").partition("/")[2]
            sock.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = sock.recv(64).split()
            return len(answer) > 1 and int(answer[1]) < 500
    except OSError:
        return False


def memory(pid: int) -> float:
    """Proportional set size of a process and its children, in MB."""
    import psutil

    root = psutil.Process(pid)
    return sum(one.memory_full_info().pss for one in [root, *root.children(recursive=True)]) / 1e6
