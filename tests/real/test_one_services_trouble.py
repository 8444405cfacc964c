"""One service answers errors, breaks connections and bodies; the others behind the same tiers are not touched.

Each line below puts other systems into the tiers, so that every proxy stands once in front of the service and in front of
each of its kind.
"""

from __future__ import annotations

import ssl
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from waiting import PATIENCE, eventually
from workbench import Bench

STACK = f"""
from tierline import *
stack = Stack(
    "trouble", zones=ZONES, cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(), gateway=Gateway(),
    services=[
        Service("good", "good:app", expose=["/good"]),
        Service("bad", command=[{sys.executable!r}, "bad.py"], expose=["/bad"]),
    ],
)
"""
GOOD = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": b"good"})
"""
BAD = r"""
import asyncio, os, socket, struct

def reset(writer):
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

async def serve(reader, writer):
    try:
        while line := await reader.readline():
            path, length = line.split()[1].decode(), 0
            while (field := await reader.readline()).strip():
                if field.lower().startswith(b"content-length:"):
                    length = int(field.split(b":")[1])
            kind = path.split("?")[0].rsplit("/", 1)[-1]
            if kind == "upload":  # closed in the middle of the request's body
                await reader.read(1000)
                return reset(writer)
            await reader.readexactly(length)
            if kind == "reset":
                return reset(writer)
            if kind == "close":
                return
            head = b"HTTP/1.1 200 OK\r\ncache-control: no-store\r\n"
            if kind == "chunk":
                writer.write(head + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\nbroken\r\n")
                await writer.drain()
                return
            if kind == "short":
                writer.write(head + b"content-length: 1000\r\n\r\nshort")
                await writer.drain()
                return
            if kind == "nonsense":
                writer.write(b"nonsense\r\n\r\n")
                await writer.drain()
                return
            status = kind.encode() if kind.isdigit() else b"200"
            writer.write(b"HTTP/1.1 " + status + b" X\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]))
    await server.serve_forever()

asyncio.run(main())
"""
KINDS = ("503", "500", "reset", "close", "chunk", "short", "nonsense", "upload")
TIMES = 8
"""More than any proxy bears of a peer that is away."""


class Trouble:
    """Inherit it and name the systems."""

    uses: ClassVar[tuple[str, ...]] = ()
    zones: ClassVar[tuple[str, ...]] = ("a",)
    bench: ClassVar[Bench]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        folder: Path = tmp_path_factory.mktemp("trouble")
        cls.bench = Bench(folder, STACK.replace("ZONES", repr(list(cls.zones))), {"good": GOOD, "bad": BAD})
        cls.bench.up(*(word for use in cls.uses for word in ("--use", use)))
        yield
        cls.bench.close()

    def client(self) -> httpx.Client:
        url = self.bench.status()["urls"]["https"]
        context = ssl._create_unverified_context()
        return httpx.Client(base_url=url, verify=context, trust_env=False, timeout=PATIENCE)

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_a_service_does_counts_against_nobody_in_between(self, kind: str) -> None:
        over = threading.Event()
        statuses: Counter[int] = Counter()

        def steady() -> None:
            with self.client() as client:
                while not over.is_set():
                    statuses[client.get("/good/x").status_code] += 1

        threads = [threading.Thread(target=steady) for _ in range(2)]
        with self.client() as client:
            assert client.get("/good/x").status_code == 200
            for thread in threads:
                thread.start()
            try:
                for number in range(TIMES):
                    method = "POST" if kind == "upload" or number % 2 else "GET"
                    body = b"x" * 300_000 if kind == "upload" else b""
                    try:
                        answer = client.request(method, f"/bad/{kind}?{number}", content=body)
                    except httpx.HTTPError:
                        continue  # a body that broke is broken here, too
                    assert answer.status_code >= 400 or kind in ("chunk", "short"), answer.status_code
                # A proxy that had left somebody out would do so for a second.
                seen = statuses.total()
                assert eventually(lambda: statuses.total() >= seen + 40)
            finally:
                over.set()
                for thread in threads:
                    thread.join()
        assert set(statuses) == {200} and statuses.total() > 40, statuses


class TestEmbedded(Trouble):
    zones = ("a", "b")
    uses = ("cdn=nginx", "lb=haproxy", "cache=nginx", "gateway=envoy")


class TestPopular(Trouble):
    uses = ("cdn=varnish", "lb=nginx", "cache=varnish", "gateway=haproxy")


class TestAlternate(Trouble):
    uses = ("cdn=nginx", "lb=traefik", "cache=trafficserver", "gateway=nginx")


class TestOthers(Trouble):
    uses = ("cdn=varnish", "lb=envoy", "cache=squid", "gateway=envoy")
