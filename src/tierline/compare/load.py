"""The load generator: HTTP/1.1 over kept connections, on one event loop.

Latency is measured in an open loop: a request is due at its time whether or not earlier ones are back, and its
latency counts from then (no coordinated omission). Throughput is measured in a closed loop. Both say when the
generator itself was the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from tierline.compare.workload import Request

_TIMEOUT = 10.0
_RESOLVE_EVERY = 0.5
"""Seconds between two questions to the name service: what a client does whose address is dead."""
_BUSY = 0.9
"""A generator that used more than this share of a core was itself the limit."""


class Sample(msgspec.Struct, frozen=True):
    """One request. `latency` in seconds from when it was due; `status` 0: no answer."""

    due: float
    latency: float
    status: int
    verdict: str


class Load(msgspec.Struct):
    """What a run saw. `rate`: answers per second; `late`: how late the generator was at worst, seconds."""

    samples: list[Sample]
    seconds: float
    late: float
    busy: float

    @property
    def limited(self) -> bool:
        return self.busy > _BUSY or self.late > 0.25

    @property
    def rate(self) -> float:
        return len(self.samples) / self.seconds


class Target(msgspec.Struct, frozen=True):
    """Where a region's clients connect."""

    host: str
    port: int
    name: str
    trust: ssl.SSLContext | None


Resolve = Callable[[str], Target]


def open_loop(
    targets: Mapping[str, Target], asked: Iterator[Request], rate: float, seconds: float,
    resolve: Resolve | None = None,
) -> Load:  # fmt: skip
    """`rate` requests per second for `seconds`. resolve: asks again where a region's clients connect, when a
    place doesn't accept them any more."""
    return _run(_open(targets, asked, rate, seconds, resolve))


def closed_loop(
    targets: Mapping[str, Target], asked: Iterator[Request], clients: int, seconds: float
) -> Load:
    """`clients` at once, each asking again as soon as it is answered, for `seconds`."""
    return _run(_closed(targets, asked, clients, seconds))


def _run(work: object) -> Load:
    import uvloop

    return uvloop.run(work)  # type: ignore[arg-type]


async def _open(
    targets: Mapping[str, Target], asked: Iterator[Request], rate: float, seconds: float,
    resolve: Resolve | None,
) -> Load:  # fmt: skip
    pool = Pool(targets, resolve)
    samples: list[Sample] = []
    began, busy = time.perf_counter(), time.process_time()
    late = 0.0

    async def one(due: float, request: Request) -> None:
        status, verdict = await pool.ask(request)
        samples.append(Sample(due, time.perf_counter() - began - due, status, verdict))

    tasks = set()
    for number in itertools.count():
        due = number / rate
        if due >= seconds:
            break
        ahead = due - (time.perf_counter() - began)
        if ahead > 0:
            await asyncio.sleep(ahead)
        else:
            late = max(late, -ahead)
        task = asyncio.create_task(one(due, next(asked)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks, timeout=_TIMEOUT)
    lasted = time.perf_counter() - began
    pool.close()
    return Load(
        sorted(samples, key=lambda each: each.due), seconds, late, (time.process_time() - busy) / lasted
    )


async def _closed(
    targets: Mapping[str, Target], asked: Iterator[Request], clients: int, seconds: float
) -> Load:
    pool = Pool(targets)
    samples: list[Sample] = []
    began, busy = time.perf_counter(), time.process_time()

    async def client() -> None:
        while (due := time.perf_counter() - began) < seconds:
            status, verdict = await pool.ask(next(asked))
            samples.append(Sample(due, time.perf_counter() - began - due, status, verdict))

    await asyncio.gather(*(client() for _ in range(clients)))
    lasted = time.perf_counter() - began
    pool.close()
    return Load(samples, lasted, 0.0, (time.process_time() - busy) / lasted)


class Pool:
    """Kept connections by region; one is opened when none is idle."""

    def __init__(self, targets: Mapping[str, Target], resolve: Resolve | None = None) -> None:
        self._targets = dict(targets)
        self._resolve = resolve
        self._asked_again = 0.0
        self._idle: dict[str, list[_Connection]] = {region: [] for region in targets}

    async def ask(self, request: Request) -> tuple[int, str]:
        """Status and the CDN's verdict; status 0 when there was no answer in time."""
        idle = self._idle[request.region]
        kept = idle.pop() if idle else None
        try:
            async with asyncio.timeout(_TIMEOUT):
                connection = kept or await self._connect(request.region)
                try:
                    answer = await connection.ask(request)
                except (OSError, asyncio.IncompleteReadError):
                    if kept is None:
                        raise
                    # A kept connection may have been closed meanwhile: every client asks once more then.
                    connection = await self._connect(request.region)
                    answer = await connection.ask(request)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return 0, ""
        if connection.reusable:
            idle.append(connection)
        else:
            connection.close()
        return answer

    async def _connect(self, region: str) -> _Connection:
        """To where the region's clients were sent; when nobody is there, to where they are sent now."""
        try:
            return await _connect(self._targets[region])
        except OSError:
            now = time.monotonic()
            if self._resolve is None or now - self._asked_again < _RESOLVE_EVERY:
                raise
            self._asked_again = now
            before = self._targets[region]
            self._targets[region] = await asyncio.to_thread(self._resolve, region)
            if self._targets[region] == before:
                raise
            return await _connect(self._targets[region])

    def close(self) -> None:
        for connection in itertools.chain(*self._idle.values()):
            connection.close()


async def _connect(target: Target) -> _Connection:
    reader, writer = await asyncio.open_connection(
        target.host, target.port, ssl=target.trust, server_hostname=target.name if target.trust else None
    )
    return _Connection(reader, writer, target.name)


class _Connection:
    """HTTP/1.1 (RFC 9112), just what a GET needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self._reader = reader
        self._writer = writer
        self._name = name
        self.reusable = True

    async def ask(self, request: Request) -> tuple[int, str]:
        headers = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        self._writer.write(f"GET {request.path} HTTP/1.1\r\nhost: {self._name}\r\n{headers}\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split()[1])
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        if fields.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self._reader.readline()).split(b";")[0], 16):
                await self._reader.readexactly(size + 2)
            await self._reader.readline()
        elif "content-length" in fields:
            await self._reader.readexactly(int(fields["content-length"]))
        elif status not in (204, 304):
            await self._reader.read()
            self.reusable = False
        if fields.get("connection", "").lower() == "close":
            self.reusable = False
        return status, fields.get("x-cache", "").partition(" ")[0].lower()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.close()
