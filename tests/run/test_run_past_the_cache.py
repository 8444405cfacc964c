"""Balancer, cache and gateway on three engines: what the cache keeps nothing of goes past it, and nobody can tell."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from waiting import eventually
from workbench import Bench

STACK = """
from tierline import *
stack = Stack(
    "past", zones=["a"], lb=LoadBalancer(hsts="1d"), cache=HTTPCache(), gateway=Gateway(response={"X-Gateway": "yes"}),
    services=[Service("said", "said:app", expose=["/"])],
)
"""
APP = """
import json
number, kept = 0, set()

async def app(scope, receive, send):
    global number
    number += 1
    path, heard = scope["path"], {}
    for name, value in scope["headers"]:
        heard.setdefault(name.decode(), []).append(value.decode())
    if scope["method"] == "POST" and scope["query_string"] == b"keep":
        kept.add(path)
    body = json.dumps({"number": number, "method": scope["method"], "heard": heard}).encode()
    control = b"no-store"
    if path.startswith("/public") or path in kept or (path == "/mixed" and "authorization" not in heard):
        control = b"max-age=60"
    over = "x-over" in heard
    control = b"no-store" if over else control
    headers = [(b"content-type", b"application/json"), (b"cache-control", control), (b"surrogate-key", b"k"),
               (b"x-tierline-past", b"60"), (b"x-accel-buffering", b"no"), (b"x-tierline-born", b"1")]
    await send({"type": "http.response.start", "status": 429 if over else 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
MANY = 8
"""Requests after which the cache has said what it has to say."""


class Edge:
    """A running line and whoever asks it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.url = bench.status()["urls"]["https"].rstrip("/")

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, dict[str, str]]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = b"" if method == "POST" else None
        request = urllib.request.Request(self.url + path, method=method, headers=given, data=data)
        try:
            with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=5) as got:
                text = got.read()
                answer = json.loads(text) if text else None
                return got.status, answer, {k.lower(): v for k, v in got.headers.items()}
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read(), {k.lower(): v for k, v in refused.headers.items()}

    def learned(self, path: str, **headers: str) -> None:
        """The balancer knows by now that nothing is kept of this."""
        for _ in range(MANY):
            self.ask(path, **headers)
        assert eventually(lambda: self.past(path, **headers))

    def past(self, path: str, **headers: str) -> bool:
        """Whether a request goes past the cache: its own access log says nothing of it."""
        trace = f"{time.time_ns():032x}"
        self.ask(path, traceparent=f"00-{trace}-{1:016x}-01", **headers)
        folder = self.bench.folder / ".tierline/hops"
        eventually(lambda: trace in (folder / "lb.a.jsonl").read_text())
        time.sleep(0.1)
        return trace not in (folder / "cache.a.jsonl").read_text()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    bench = Bench(tmp_path_factory.mktemp("past"), STACK, {"said": APP})
    bench.up("--use", "lb=haproxy", "--use", "cache=nginx", "--use", "gateway=envoy")
    yield Edge(bench)
    bench.close()


def test_a_service_and_a_client_can_not_tell(edge: Edge) -> None:
    evil = {
        "X_Forwarded_Host": "evil.test", "X_Original_URL": "/admin", "Proxy": "evil.test", "TE": "trailers",
        "Forwarded": "for=192.0.2.9", "X_Forwarded_For": "192.0.2.9", "X_Tierline_Claims": "root",
        "Via": "1.0 before", "Host": "WWW.Past.test:1234",
    }  # fmt: skip
    edge.ask("/own", **evil)
    _, through, told_through = edge.ask("/own", **evil)
    edge.learned("/own", **evil)
    _, past, told_past = edge.ask("/own", **evil)
    assert past["number"] > through["number"]
    for heard in (through["heard"], past["heard"]):
        heard.pop("traceparent")
    assert past["heard"] == through["heard"]
    assert past["heard"]["host"] == ["www.past.test"] and past["heard"]["via"] == ["1.0 before, 1.1 tierline"]
    for told in (told_through, told_past):
        told.pop("date")
        told.pop("server", "")
        told.pop("content-length")  # it tells the number of the request
    assert told_past == told_through
    assert told_past["content-type"] == "application/json", "as the service wrote it"
    assert told_past["cache-status"] == "tierline-cache; fwd=bypass" and "x-gateway" in told_past
    assert not [name for name in told_past if name.startswith(("x-tierline", "x-accel", "surrogate"))]


def test_a_trip_shows_the_cache_that_was_passed_by(edge: Edge) -> None:
    def passing() -> dict[str, Any]:
        hops = {hop["tier"]: hop for hop in edge.bench.trip("/shown")["hops"]}
        return hops if hops["cache"]["attributes"].get("tierline.passed") == "lb" else {}

    hops = eventually(passing, 20)
    assert list(hops)[-4:] == ["lb", "cache", "gateway", "feature"]
    assert (hops["cache"]["verdict"], hops["gateway"]["verdict"]) == ("pass", "allowed")
    assert (hops["cache"]["system"], hops["cache"]["duration_us"]) == ("nginx", 0)


def test_all_requests_are_counted_at_the_cache(edge: Edge) -> None:
    def counted(tier: str) -> int:
        lines = edge.bench.run("metrics").stdout.splitlines()
        mine = [each for each in lines if each.startswith(f'tierline_requests_total{{tier="{tier}"')]
        return sum(int(each.rpartition(" ")[2]) for each in mine)

    edge.learned("/counted")
    for _ in range(20):
        edge.ask("/counted")
    assert eventually(lambda: counted("cache") == counted("lb") > 20, 10)


def test_the_cache_is_asked_again_after_two_seconds_whoever_asks_meanwhile(edge: Edge) -> None:
    edge.learned("/again")
    seen, until = [], time.monotonic() + 6
    while time.monotonic() < until:
        seen.append(edge.past("/again"))
    assert 1 <= seen.count(False) < len(seen) / 2


def test_answers_that_may_be_kept_from_now_on_are_kept(edge: Edge) -> None:
    edge.learned("/changes")
    assert edge.ask("/changes?keep", method="POST")[0] == 200
    assert eventually(lambda: "hit" in edge.ask("/changes")[2]["cache-status"], 10)


def test_credentials_are_a_matter_of_their_own(edge: Edge) -> None:
    edge.learned("/mixed", Authorization="Bearer x")
    assert not edge.past("/mixed")
    assert eventually(lambda: "hit" in edge.ask("/mixed")[2]["cache-status"])
    assert edge.past("/mixed", Authorization="Bearer y")


def test_who_is_refused_leads_nobody_past_the_cache(edge: Edge) -> None:
    # A flood that the gateway refuses says nothing of what others get.
    for _ in range(MANY):
        assert edge.ask("/public/flood", x_over="1")[0] == 429
    assert not edge.past("/public/flood")


def test_what_a_service_or_a_stranger_says_of_it_is_nobodys_word(edge: Edge) -> None:
    for _ in range(MANY):
        edge.ask("/public", X_Tierline_Past="60")
    assert not edge.past("/public")
    _, answer, headers = edge.ask("/public")
    assert "hit" in headers["cache-status"] and "x-tierline-past" not in headers
    assert edge.ask("/public", method="POST")[0] == 200
    assert edge.ask("/public")[1]["number"] > answer["number"], "an unsafe method takes the copy away"


def test_what_only_a_cache_can_say_is_asked_of_the_cache(edge: Edge) -> None:
    edge.learned("/only")
    assert edge.ask("/only", Cache_Control="max-age=0, only-if-cached")[0] == 504
    assert edge.ask("/only", method="HEAD")[0] == 200
    assert edge.past("/only")


def test_another_query_or_host_is_another_url(edge: Edge) -> None:
    edge.learned("/query?a=1")
    assert not edge.past("/query?a=2") and not edge.past("/query")
    assert not edge.past("/query?a=1", Host="other.test")


def test_a_body_goes_through_the_cache(edge: Edge) -> None:
    edge.learned("/body")
    parts = urllib.request.urlparse(edge.url)  # type: ignore[attr-defined]
    context = ssl._create_unverified_context()
    with (
        socket.create_connection((parts.hostname, parts.port), timeout=5) as plain,
        context.wrap_socket(plain) as sock,
    ):
        head = (
            f"GET /body HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
        )
        sock.sendall(head.encode())
        told = b""
        while chunk := sock.recv(65536):
            told += chunk
    assert told.startswith(b"HTTP/1.1 200")
    last = json.loads((edge.bench.folder / ".tierline/hops/lb.a.jsonl").read_bytes().splitlines()[-1])
    assert last["a"]["server.address"] == "cache.a"


def test_a_cache_that_hangs_holds_up_nobody_whom_it_let_pass(edge: Edge) -> None:
    edge.learned("/alone")
    master = psutil.Process(edge.bench.process("cache.a")["pid"])
    every = [master, *master.children()]
    for each in every:
        each.suspend()
    try:
        assert edge.ask("/alone")[0] == 200
    finally:
        for each in every:
            each.resume()


def test_nobody_notices_a_gateway_that_dies(tmp_path: Path) -> None:
    bench = Bench(tmp_path, STACK.replace('zones=["a"]', 'zones=["a", "b"]'), {"said": APP})
    bench.up("--use", "lb=haproxy", "--use", "cache=nginx", "--use", "gateway=envoy")
    try:
        edge = Edge(bench)
        edge.learned("/steady")
        statuses: list[int] = []
        until = time.monotonic() + 3

        def ask() -> None:
            while time.monotonic() < until:
                statuses.append(edge.ask("/steady")[0])

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for each in threads:
            each.start()
        for _ in range(2):
            time.sleep(0.8)
            with contextlib.suppress(ProcessLookupError):
                os.kill(bench.process("gateway.a")["pid"], signal.SIGKILL)
        for each in threads:
            each.join()
        assert len(statuses) > 50 and set(statuses) == {200}
    finally:
        bench.close()
