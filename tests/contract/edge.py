"""A piece of a real line: one tier's engines, started from a real plan, between a test's client and tiny
servers that say what reached them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
import psutil

from ports import free_port
from tierline.engines import unprivileged
from tierline.engines.base import Process
from tierline.errors import RunError
from tierline.lineups import EMBEDDED
from tierline.plan.model import Plan
from tierline.plan.resolve import resolve
from tierline.run.addresses import choose
from tierline.run.context import LocalContext
from tierline.run.line import engine
from tierline.run.state import State, write
from tierline.stack import Stack
from tierline.trips.hop import Hop
from tierline.trips.normalise import hop as normalised
from waiting import PATIENCE, becomes, eventually

OURS = ("mailbox", "counter")
"""Engines behind a tier that run as they are."""


class Line:
    """The units of one tier of a stack, running; everything behind it is an `Upstreams`."""

    def __init__(
        self, stack: Stack, tier: str, uses: dict[str, str], project: Path | None = None, zones: str = "a"
    ) -> None:
        self.zones = zones
        self.root = project or Path(tempfile.mkdtemp(prefix="tierline-edge-"))
        self.root.chmod(0o711)
        self.state = State(self.root / "stack.py")
        self.state.folder()
        # A balancer alone: with its gateway in the same process, a server of the test's own would have its address.
        self.plan: Plan = resolve(stack, {**EMBEDDED, **uses}, fusion=tier != "lb")
        self.tier = tier
        public = {e.name for role in self.plan.entry for e in self.plan.roles[role].endpoints}
        public &= {"http", "https"}
        self.addresses = choose(self.plan, self.state, {name: free_port() for name in sorted(public)})
        self.context = LocalContext(self.plan, self.state, self.addresses)
        self.upstreams = Upstreams()
        self.processes: dict[str, Process] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *tiers: str) -> Line:
        """tiers: whose units run; the line's own tier's alone without any."""
        behind = [
            role
            for role in self.plan.roles.values()
            if role.tier in ("feature", "experience") and role.engine not in OURS
        ]
        mine = [role for role in self.plan.roles.values() if role.tier == self.tier]
        if self.tier not in ("gateway",):
            behind = [
                self.plan.roles[up.role] for role in mine for ups in role.upstreams.values() for up in ups
            ]
        for role in {role.id: role for role in behind}.values():
            if role.slot != "feature.mail":
                self.upstreams.start(role.id, *self.addresses[(role.id, "http")])
        for unit in self.plan.units:
            if unit.engine in OURS:  # the real one: there is no tiny one
                for process in engine(unit.engine).processes(unit, self.context):
                    self.processes[process.name] = process
                    self._start(process)
        for unit in self.plan.units:
            here = unit.zone in self.zones or not unit.zone
            if here and any(role.tier in (tiers or (self.tier,)) for role in unit.roles):
                for process in engine(unit.engine).processes(unit, self.context):
                    self.processes[process.name] = process
                    self._start(process)
        return self

    def url(self, zone: str = "a", endpoint: str = "http", name: str | None = None) -> str:
        """Where the tier of a zone listens."""
        host, port = self.addresses[(f"{name or self.tier}.{zone}", endpoint)]
        return f"{endpoint}://{host}:{port}"

    def address(self, zone: str = "a", endpoint: str = "http") -> tuple[str, int]:
        return self.addresses[(f"{self.tier}.{zone}", endpoint)]

    def entry(self, endpoint: str) -> tuple[str, int]:
        """Where clients of the tier connect, whatever its roles are called."""
        (first, *_) = [
            role for role in self.plan.roles.values() if role.tier == self.tier and role.part != "origin"
        ]
        return self.addresses[(first.id, endpoint)]

    def folder(self, zone: str = "a") -> Path:
        """The unit's folder."""
        return self.context.folder(self.context.unit_of(f"{self.tier}.{zone}"))

    def hops(self, trace: str, zone: str = "a", patience: float = PATIENCE) -> list[Hop]:
        """The hops of a trace, as the telemetry reads them."""

        def mine() -> list[Hop]:
            found = []
            for path in (self.root / ".tierline" / "hops").glob(f"{self.tier}.{zone}*"):
                found += [each for line in path.read_bytes().splitlines() if (each := normalised(line))]
            return [each for each in found if each.trace == trace]

        hops: list[Hop] = eventually(mine, patience)
        return hops

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")

    def pid(self, zone: str = "a") -> int:
        return self.running[self.context.unit_of(f"{self.tier}.{zone}")].pid

    def _start(self, process: Process) -> None:
        for folder in process.folders:
            Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            _give(Path(folder), process)
        for name, text in process.files.items():
            write(Path(name), text)
            _give(Path(name), process)
        for name in process.writes:
            Path(name).touch(mode=0o600)
            _give(Path(name), process)
        if process.check:
            done = subprocess.run(
                _argv(process.check, process), cwd=process.cwd, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
        log = (self.root / f"{process.name}.log").open("ab")
        out = Path(process.stdout).open("ab") if process.stdout else log
        popen = subprocess.Popen(
            _argv(process.argv, process), stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=process.cwd,
            env={**os.environ, **process.env}, start_new_session=True,
        )  # fmt: skip
        self.running[process.name] = popen
        host, _, port = process.ready.target.rpartition(":")

        def ready() -> bool:
            assert popen.poll() is None, self.log(process.name)
            if process.ready.kind == "exec":
                return not subprocess.run(process.ready.argv, capture_output=True).returncode
            return accepts(host.removeprefix("http://"), int(port.partition("/")[0]))

        if process.ready.target or process.ready.kind == "exec":
            assert eventually(ready), self.log(process.name)

    def kill(self, name: str) -> None:
        """End a process as a crash would; what it leaves is removed, as the supervisor does."""
        os.killpg(self.running[name].pid, signal.SIGKILL)
        self.running[name].wait()
        for path in self.processes[name].leftovers:
            Path(path).unlink(missing_ok=True)

    def again(self, name: str) -> None:
        """Start a process that was killed."""
        self._start(self.processes[name])

    def rewrite(self, name: str) -> list[Process]:
        """Write a unit's files again, those that differ."""
        unit = next(u for u in self.plan.units if u.id == name)
        found = engine(unit.engine).processes(unit, self.context)
        for process in found:
            for path, text in process.files.items():
                if not Path(path).exists() or Path(path).read_text() != text:
                    write(Path(path), text)
                    _give(Path(path), process)
        return found

    def reload(self, zone: str = "a", wait: bool = False) -> None:
        """Write the unit's files again and tell its engine, as the supervisor does. wait: until the workers from before,
        of an engine that replaces them, have ended what they had under way."""
        for process in self.rewrite(self.context.unit_of(f"{self.tier}.{zone}")):
            if process.reload in ("HUP", "USR2"):
                master = psutil.Process(self.running[process.name].pid)
                before = master.children()
                master.send_signal(getattr(signal, f"SIG{process.reload}"))
                if wait:
                    assert eventually(lambda: not any(each.is_running() for each in before)), before  # noqa: B023

    def refresh(self, zone: str = "a") -> None:
        """Fetch what is due of others' documents and apply what changed, as the supervisor does."""
        fetched = self.context.fetched
        for url in fetched.due():
            with contextlib.suppress(RunError):
                if fetched.again(url):
                    self.reload(zone)

    def close(self) -> None:
        for name, popen in self.running.items():
            popen.send_signal(getattr(signal, f"SIG{self.processes[name].stop_signal}"))
        for popen in self.running.values():
            try:
                popen.wait(2)
            except subprocess.TimeoutExpired:
                os.killpg(popen.pid, signal.SIGKILL)
                popen.wait()
        self.upstreams.close()
        shutil.rmtree(self.root, ignore_errors=True)


def _give(path: Path, process: Process) -> None:
    if process.unprivileged and os.geteuid() == 0:
        os.chown(path, *unprivileged.account())


def _argv(argv: tuple[str, ...], process: Process) -> tuple[str, ...]:
    if process.unprivileged and os.geteuid() == 0:
        return (sys.executable, "-I", "-S", unprivileged.__file__, *argv)
    return argv


def accepts(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


class Seen(msgspec.Struct):
    """A request as it reached a server."""

    role: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name]
        return ", ".join(values) if values else None


class Upstreams:
    """Tiny HTTP/1.1 servers on one thread. A request's own headers say how it is answered:

    x-test-sleep: seconds; x-test-hold: until the test calls `release` with its value; x-test-status: the status;
    x-test-drop: the connection is closed without an answer;
    x-test-header: `name: value` of the answer, several with `|` between; x-test-plain: an upgrade isn't taken;
    x-test-wide: bytes of fields of the answer; x-test-stall: the answer begins, and goes on when the test calls `release`
    with its value; x-test-drip: it never ends, and something comes every so many seconds;
    x-test-raw: the answer, byte by byte, percent-encoded; x-test-raw-close: then the connection is closed;
    x-test-echo: the answer is the request's own body, `chunked` in many pieces, x-test-times: so often. An upgrade to
    websocket is accepted and echoes.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._servers: dict[str, asyncio.Server] = {}
        self._open: dict[str, set[asyncio.StreamWriter]] = {}
        self._at: dict[str, tuple[str, int]] = {}
        self.sick: set[str] = set()
        """Roles whose health checks fail."""
        self.held: set[str] = set()
        """Roles that answer nothing, and no health check, until they are taken out of here."""
        self.released: set[str] = set()
        self.seen: list[Seen] = []
        self.busy: dict[str, int] = {}
        self.peak: dict[str, int] = {}
        """Requests at once, now and at most, by role."""

    def start(self, role: str, host: str, port: int) -> None:
        self._at[role] = (host, port)
        asyncio.run_coroutine_threadsafe(self._start(role, host, port), self._loop).result(5)

    def heal(self, role: str) -> None:
        """Listen again where it listened."""
        self.start(role, *self._at[role])

    def kill(self, role: str) -> None:
        """As a killed process: no listener, every connection reset."""
        asyncio.run_coroutine_threadsafe(self._kill(role), self._loop).result(5)

    def release(self, *names: str) -> None:
        """Answer the requests that have `x-test-hold` with one of these values, those to come too."""
        self.released.update(names)

    def waiting(self) -> int:
        """Requests that are not answered yet."""
        return sum(self.busy.values())

    def of(self, *roles: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.role in roles]

    def close(self) -> None:
        for role in list(self._servers):
            self.kill(role)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _start(self, role: str, host: str, port: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._open[role].add(writer)
            try:
                while await self._answer(role, reader, writer):
                    pass
            except (OSError, asyncio.IncompleteReadError, ValueError):
                pass
            finally:
                self._open[role].discard(writer)
                writer.close()

        self._open.setdefault(role, set())
        self._servers[role] = await asyncio.start_server(serve, host, port, limit=1 << 20)

    async def _kill(self, role: str) -> None:
        self._servers.pop(role).close()
        for writer in list(self._open[role]):
            writer.transport.abort()

    async def _answer(self, role: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line = (await reader.readline()).decode("latin-1").strip()
        if not line:
            return False
        method, path, _ = line.split(" ", 2)
        headers: list[tuple[str, str]] = []
        while (told := (await reader.readline()).decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = told.partition(":")
            headers.append((name, value.strip()))
        seen = Seen(role, method, path, headers, b"")
        if (seen.header("expect") or "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if seen.header("transfer-encoding"):
            while size := int((await reader.readline()).split(b";")[0], 16):
                seen.body += await reader.readexactly(size)
                await reader.readline()
            while (await reader.readline()).strip():
                pass
        elif length := seen.header("content-length"):
            seen.body = await reader.readexactly(int(length))
        probe = path == "/health"
        if not probe:
            self.seen.append(seen)
        if (seen.header("upgrade") or "").lower() == "websocket" and not seen.header("x-test-plain"):
            return await self._websocket(reader, writer)
        name = seen.header("x-test-hold")
        if name or seen.header("x-test-sleep") or role in self.held:
            self.busy[role] = self.busy.get(role, 0) + 1
            self.peak[role] = max(self.busy[role], self.peak.get(role, 0))
            await asyncio.sleep(float(seen.header("x-test-sleep") or 0))  # slow: as the test asks
            await becomes(lambda: (not name or name in self.released) and role not in self.held)
            self.busy[role] -= 1
        if seen.header("x-test-drop"):
            return False
        if (raw := seen.header("x-test-raw")) is not None:
            writer.write(unquote_to_bytes(raw))
            await writer.drain()
            return not seen.header("x-test-raw-close")
        status = seen.header("x-test-status") or ("503" if probe and role in self.sick else "200")
        body = json.dumps(
            {
                "role": role, "method": method, "path": path, "body": len(seen.body),
                "headers": {name.lower(): value for name, value in headers},
            }
        ).encode()  # fmt: skip
        if echo := seen.header("x-test-echo"):
            return await self._echo(seen, status, echo, writer)
        if seen.header("x-test-trailer"):
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n")
            writer.write(b"2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n")
            await writer.drain()
            return True
        extra = "".join(f"{line}\r\n" for line in (seen.header("x-test-header") or "").split("|") if line)
        extra += "".join(
            f"x-wide-{n}: {'x' * 983}\r\n" for n in range(int(seen.header("x-test-wide") or 0) // 1000)
        )
        if seen.header("x-test-stall") or seen.header("x-test-drip"):
            return await self._stream(seen, extra, writer)
        head = f"HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\nx-role: {role}\r\n{extra}"
        head += f"date: {formatdate(usegmt=True)}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
        if method != "HEAD":
            writer.write(body)
        await writer.drain()
        return True

    async def _stream(self, seen: Seen, extra: str, writer: asyncio.StreamWriter) -> bool:
        """An event stream that stalls, or that drips without end."""
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{extra}transfer-encoding: chunked\r\n\r\n"
        )
        writer.write(f"{head}c\r\ndata: begun\n\r\n".encode())
        if stall := seen.header("x-test-stall"):
            await becomes(lambda: stall in self.released or writer.transport.is_closing())
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return True
        while not writer.transport.is_closing():
            writer.write(b"8\r\ndata: x\n\r\n")
            await writer.drain()
            await asyncio.sleep(float(seen.header("x-test-drip") or 1))  # slow: as the test asks
        return False

    async def _echo(self, seen: Seen, status: str, how: str, writer: asyncio.StreamWriter) -> bool:
        kind = seen.header("content-type") or "application/json"
        if times := seen.header("x-test-times"):
            seen = msgspec.structs.replace(seen, body=seen.body * int(times))
        head = f'HTTP/1.1 {status} OK\r\ncontent-type: {kind}\r\nx-role: {seen.role}\r\netag: "e"\r\n'
        if how == "chunked":
            pieces = [seen.body[at : at + 1000] for at in range(0, len(seen.body), 1000)]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n")
        else:
            length = f"content-length: {len(seen.body)}\r\n\r\n"
            writer.write(f"{head}{length}".encode() + (b"" if seen.method == "HEAD" else seen.body))
        await writer.drain()
        return True

    async def _websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        )
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        return False


def raw(address: tuple[str, int], data: bytes, timeout: float | None = None, tls: Any = None) -> bytes:
    """What comes back for bytes written as they are, until the other side closes or says nothing more. timeout: for as
    long as it has to say nothing; without one it has to answer, however late."""
    with socket.create_connection(address, timeout=PATIENCE) as sock:
        sock.settimeout(PATIENCE)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname="localhost")
        sock.settimeout(timeout or PATIENCE)
        found = b""
        with contextlib.suppress(OSError):
            sock.sendall(data)
            while chunk := sock.recv(65536):
                found += chunk
                sock.settimeout(timeout or 3)
        return found
