"""`python -m tierline.engines.telemetry CONFIG.json`: follow the hop files, receive OTLP, answer queries.

GET  /health            200 when it reads
POST /v1/traces         OTLP/HTTP with JSON; open to programs on this machine, not to web pages: an `Origin` is refused
POST /v1/logs           records that are events, in the same way
GET  /trips/<trace>     the hops of a trace                          (token)
GET  /trips             the last traces with their entry hop         (token)
GET  /counts            requests by tier, system, zone, status       (token)
GET  /callers           the gateway's by zone, route, consumer, status (token)
GET  /carried           what stood behind a tier: requests and microseconds, since this process's start (token)
GET  /funnels           visitors per step, ?name=&client=&since=      (token)
GET  /metrics           both, in Prometheus format                   (token)
GET  /                  the status page                              (token, as ?token=; no cookie is set)

A request whose `Host` is another than this server's own, or localhost, is refused, whatever token it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import signal
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import uvloop

from tierline.engines import steady
from tierline.engines.telemetry import events, metrics, otlp
from tierline.engines.telemetry.funnel import funnels
from tierline.engines.telemetry.reader import Reader
from tierline.engines.telemetry.store import Store
from tierline.engines.web_origin import foreign_host
from tierline.trips.hop import Hop

_POLL = 0.02
_LAND = 1.0
_RECENT = 5000
"""Traces kept in memory, so that a trip is shown before its hops have landed."""
_LONGEST = 1000
"""Hops of one of them: a client may use one trace for all that it does."""
_TRIM = 60.0
_WAITING = 50_000
"""Hops, and as many events, that may wait to be written while the disk is full."""


class Telemetry:
    """The process: reader, memory of recent traces, store, and the ASGI application that answers."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told
        self._reader = Reader(Path(told["hops"]))
        self._store = Store(Path(told["database"]))
        self._recent: OrderedDict[str, list[Hop]] = OrderedDict()
        self._landing: list[Hop] = []
        self._counted: list[tuple[str, str, str, int, str, int]] = []
        self._calling: list[tuple[str, str, str, int, str, int]] = []
        self._happened: list[events.Row] = []
        self.lost = 0
        """Hops and events that were dropped, as they could not be written for too long."""
        self._unwritten = ""
        """Why what was read last could not be written; empty: it was."""
        self._said = ""
        self._totals: Counter[tuple[str, str, str, int, str]] = Counter()
        self._reader.resume(self._store.offsets())
        for *key, number in self._store.totals():
            self._totals[tuple(key)] = number  # type: ignore[index]
        self._called: Counter[tuple[str, str, str, int, str]] = Counter()
        for *key, number in self._store.callers():
            self._called[tuple(key)] = number  # type: ignore[index]

    async def follow(self) -> None:
        """Read for ever; land what was read once a second."""
        loop = asyncio.get_running_loop()
        land_at = loop.time() + _LAND
        forget_at = loop.time()
        trim_at = forget_at + _TRIM
        while True:
            try:
                for hop in self._reader.poll():
                    self._keep(hop)
            except OSError as error:  # no descriptor, no folder: there may be one again
                self._say(f"hop files can't be read: {error}")
            if loop.time() >= land_at:
                self.land()
                land_at = loop.time() + _LAND
            if self._unwritten:
                pass
            elif loop.time() >= forget_at:
                self._tidy(self._forget)
                forget_at = loop.time() + 3600
            elif loop.time() >= trim_at:
                self._tidy(self._store.trim)
                trim_at = loop.time() + _TRIM
            await asyncio.sleep(_POLL)

    def _forget(self) -> None:
        self._store.forget(**{what: float(age) for what, age in self._told["retention"].items()})

    def _tidy(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        """What could not be written is kept and tried again; too much of it is dropped, the oldest first."""
        self._say(f"hops can't be written: {error}")
        self._unwritten = str(error)
        for kept in (self._landing, self._happened):
            over = len(kept) - _WAITING
            if over > 0:
                self.lost += over
                del kept[:over]
        with contextlib.suppress(Exception):
            self._store.again()

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            print(text, file=sys.stderr)

    def _keep(self, hop: Hop) -> None:
        self._landing.append(hop)
        hops = self._recent.get(hop.trace)
        if hops is None:
            hops = self._recent[hop.trace] = []
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        if len(hops) < _LONGEST:
            hops.append(hop)

    def _add(self) -> None:
        """Count what was read since the last time: what a trip shows, the counts hold."""
        counts = self._reader.counts()
        for *key, number in counts:
            self._totals[tuple(key)] += number  # type: ignore[index]
        callers = self._reader.callers()
        for *key, number in callers:
            self._called[tuple(key)] += number  # type: ignore[index]
        self._counted, self._calling = _summed(self._counted, counts), _summed(self._calling, callers)

    def land(self) -> None:
        """Write what was read since the last time, and what could not be written then."""
        self._add()
        self._happened += self._reader.events()
        if not (self._landing or self._counted or self._happened):
            return
        offsets = self._reader.offsets()
        try:
            self._store.add(self._landing, self._counted, offsets, self._calling, self._happened)
        except Exception as error:
            self._failed(error)
            return
        self._landing, self._counted, self._calling, self._happened = [], [], [], []
        self._unwritten = self._said = ""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            for hop in self._reader.poll():
                self._keep(hop)
        self.land()
        self._store.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, kind, body = await self._answer(scope, receive)
        headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
        headers.append((b"referrer-policy", b"no-referrer"))  # the page's address has the token
        if kind.startswith("text/html"):
            headers.append(
                (b"content-security-policy", b"default-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
            )
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Any, receive: Any) -> tuple[int, str, bytes]:
        path, method = scope["path"], scope["method"]
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if foreign_host(hosts, self._told["host"], self._told["port"]):
            return 403, "application/problem+json", b'{"title":"this is not the host that was asked for"}'
        if path == "/health":
            return 200, "text/plain", b"ok"
        if path in ("/v1/traces", "/v1/logs") and any(name == b"origin" for name, _ in scope["headers"]):
            return 403, "application/problem+json", b'{"title":"web pages send nothing here"}'
        if path in ("/v1/traces", "/v1/logs") and method == "POST":
            return await self._receive(receive, path)
        if not self._allowed(scope):
            return (
                401,
                "application/problem+json",
                b'{"title":"a token is needed: tierline status prints the address"}',
            )
        if path == "/":
            from tierline.console.page import page

            return (
                200,
                "text/html; charset=utf-8",
                page(Path(self._told["state"]), self._counts(), self._traces()).encode(),
            )
        if path == "/trips":
            return 200, "application/json", json.dumps(self._traces()).encode()
        if path.startswith("/trips/"):
            return 200, "application/json", json.dumps(self._trip(path[7:])).encode()
        if path == "/counts":
            return 200, "application/json", json.dumps(self._counts()).encode()
        if path == "/callers":
            return 200, "application/json", json.dumps(self._callers()).encode()
        if path == "/carried":
            return 200, "application/json", json.dumps(self._reader.carried).encode()
        if path == "/funnels":
            asked = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
            try:
                since = float(asked.get("since", 0))
            except ValueError:
                return 400, "application/json", b'{"message":"since= is seconds since the epoch"}'
            found = funnels(self._store.rows, asked.get("name", ""), asked.get("client", ""), since)
            return 200, "application/json", json.dumps(found).encode()
        if path == "/metrics":
            text = metrics.page(self._counts(), self._callers(), self._reader.metrics, self.lost)
            return 200, metrics.TYPE, text.encode()
        return 404, "application/problem+json", b'{"title":"not found"}'

    def _allowed(self, scope: Any) -> bool:
        headers = dict(scope["headers"])
        given = [headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")]
        given += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return any(hmac.compare_digest(each.encode(), self._told["token"].encode()) for each in given)

    async def _receive(self, receive: Any, path: str) -> tuple[int, str, bytes]:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > otlp.MOST:
                return 413, "application/json", b"{}"
            if not message.get("more_body"):
                break
        try:
            if path == "/v1/logs":
                self._happened += events.logs(body, self._told["key"])
            else:
                for hop in otlp.hops(body):
                    self._keep(hop)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return 400, "application/json", b'{"message":"not an OTLP export request in JSON"}'
        return 200, "application/json", b"{}"

    def _trip(self, trace: str) -> list[dict[str, Any]]:
        hops = self._recent.get(trace)
        if hops is not None:
            return [_plain(hop) for hop in hops]
        rows = self._store.rows(
            "select trace, span, parent, tier, system, zone, epoch_us(time), duration_us, status, verdict, name, "
            "attributes from hops where trace = ?",
            (trace,),
        )
        names = ("t", "i", "p", "T", "y", "z", "b", "d", "s", "v", "n")
        return [{**dict(zip(names, row, strict=False)), "a": json.loads(row[-1])} for row in rows]

    def _traces(self) -> list[dict[str, Any]]:
        found = []
        for trace, hops in list(self._recent.items())[-100:]:
            first = min(hops, key=lambda hop: hop.start_us)
            whole = max(hops, key=lambda hop: hop.duration_us)
            status = max((hop.status for hop in hops if hop.status > 1), default=0)
            found.append(
                {"trace_id": trace, "name": whole.name or first.name, "status": status, "us": whole.duration_us,
                 "at_us": first.start_us, "hops": len(hops)}
            )  # fmt: skip
        return found[::-1]

    def _counts(self) -> list[dict[str, Any]]:
        self._add()
        names = ("tier", "system", "zone", "status", "verdict")
        return [
            {**dict(zip(names, key, strict=True)), "requests": n} for key, n in sorted(self._totals.items())
        ]

    def _callers(self) -> list[dict[str, Any]]:
        self._add()
        names = ("zone", "route", "consumer", "status", "verdict")
        return [
            {**dict(zip(names, key, strict=True)), "requests": n} for key, n in sorted(self._called.items())
        ]


def _summed(
    before: list[tuple[str, str, str, int, str, int]], more: list[tuple[str, str, str, int, str, int]]
) -> list[tuple[str, str, str, int, str, int]]:
    if not before:
        return more
    found: Counter[tuple[str, str, str, int, str]] = Counter()
    for *key, number in (*before, *more):
        found[tuple(key)] += number  # type: ignore[index]
    return [(*key, number) for key, number in found.items()]


def _plain(hop: Hop) -> dict[str, Any]:
    import msgspec

    return msgspec.to_builtins(hop)  # type: ignore[no-any-return]


async def run(told: dict[str, Any]) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    logging.getLogger("_granian").setLevel(logging.WARNING)
    telemetry = Telemetry(told)
    server = Server(
        telemetry, address=told["host"], port=told["port"], interface=Interfaces.ASGINL, log_access=False
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(server.serve()), asyncio.create_task(telemetry.follow())]
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
    server.stop()  # type: ignore[no-untyped-call]
    telemetry.close()
    if waiting not in done:
        for task in done:
            with contextlib.suppress(asyncio.CancelledError):
                task.result()
        sys.exit(1)


def main() -> None:
    steady.begin()
    told = json.loads(Path(sys.argv[1]).read_text())
    uvloop.run(run(told))


if __name__ == "__main__":
    main()
