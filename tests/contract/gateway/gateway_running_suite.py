"""A gateway while things change and fail: instances come, go and drain, retries stay within bounds, and what nobody
may repeat isn't. A system inherits it with an empty subclass."""

from __future__ import annotations

import asyncio
import importlib
import re
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest
from edge import raw
from feature_suite import Contract

from ports import free_port
from tierline import Access, APIKeys, Gateway, Route, Service, Stack
from tierline.engines.target import Target
from tierline.engines.unkeyed import OVERRIDES
from tierline.tiers.base import system
from waiting import PATIENCE, becomes, eventually

OWN, OTHER = "echo.a", "echo.b"


class RunningContract(Contract):
    """Inherit it and name the system."""

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                routes=[
                    Route("/never", to="echo", retries=0),
                    Route("/bounded", to="bounded"),
                ],
                retry_budget=20,
                timeout="60s",
            ),
            services=[Service("echo", "app:app", expose=["/echo"]), Service("bounded", "app:app")],
            zones=["a", "b"],
        )

    def asks(self, feature: str) -> None:
        """As ever; but no stack asks for instances that come and go, so no plan tells that loss."""
        provider = system("gateway", self.system)
        if feature == "live_upstreams" and feature not in provider.supports:
            pytest.xfail(f"gateway.{self.system} lacks {feature}: {provider.lacks[feature]}")
        super().asks(feature)

    def seen(self, *roles: str, path: str = "/echo") -> int:
        """How many requests for a path reached these instances."""
        return len([each for each in self.line.upstreams.of(*roles) if each.path == path])

    def settle(self) -> None:
        """Until the own zone's instance, left out for a failure before, is used again, and goes on being used."""
        assert eventually(
            lambda: {self.get("/echo").json().get("role") for _ in range(3)} == {OWN}, every=0.1
        ), "the own zone's instance is never used again"

    @contextmanager
    def steadily(self, path: str) -> Iterator[Counter[Any]]:
        """Four clients on connections of their own ask all the time; what became of their requests."""
        stop, found = threading.Event(), Counter[Any]()

        def asking() -> None:
            with httpx.Client(base_url=self.line.url(), trust_env=False, timeout=PATIENCE) as client:
                while not stop.is_set():
                    try:
                        found[client.get(path, headers={"x-test-sleep": "0.003"}).status_code] += 1
                    except httpx.TransportError as error:
                        found[type(error).__name__] += 1

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(asking) for _ in range(4)]
            try:
                yield found
            finally:
                stop.set()
        for each in asked:
            each.result()

    def test_no_service_sees_another_request_than_the_gateway(self) -> None:
        asked = {name: "/never" if name.endswith(("L", "I")) else "DELETE" for name in OVERRIDES}
        got = httpx.post(self.line.url() + "/echo", headers=asked, trust_env=False).json()["headers"]
        assert not {name.lower() for name in OVERRIDES} & got.keys()

    def test_no_name_with_an_underscore_passes_for_one_of_the_gateways_own(self) -> None:
        # CGI and WSGI make HTTP_X_TIERLINE_SUBJECT of both spellings.
        asked = {"X_Tierline_Subject": "root", "X-Tierline_Claims": "e30", "X_HTTP_Method_Override": "DELETE"}
        got = httpx.post(self.line.url() + "/echo", headers=asked, trust_env=False)
        assert got.status_code == 400 or not [name for name in got.json()["headers"] if "_" in name]

    # what lasts

    def test_websockets_go_through(self) -> None:
        self.asks("websocket")
        for path, status in (("/echo/ws", b"101"), ("/nowhere", b"404")):
            with socket.create_connection(self.line.address(), timeout=PATIENCE) as client:
                client.sendall(
                    f"GET {path} HTTP/1.1\r\nhost: x\r\nupgrade: WebSocket\r\nconnection: upgrade\r\n"
                    "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
                )
                answer = client.recv(4096)
                assert answer[9:12] == status, answer
                if status == b"101":
                    assert b"upgrade: websocket" in answer.lower(), answer
                    client.sendall(b"hello")
                    assert client.recv(100) == b"hello"

    # what is tried again

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
    def test_what_changes_something_is_never_repeated(self, method: str) -> None:
        self.asks("retries")
        self.settle()
        for header in ({"x-test-drop": "1"}, {"x-test-status": "503"}):
            before = self.seen(OWN, OTHER, path="/echo/once")
            answer = httpx.request(method, self.line.url() + "/echo/once", headers=header, trust_env=False)
            assert answer.status_code in (502, 503)
            assert self.seen(OWN, OTHER, path="/echo/once") - before == 1, header
        self.settle()

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "POST"])
    def test_what_nobody_has_seen_is_tried_elsewhere(self, method: str) -> None:
        self.asks("retries")
        self.settle()
        self.line.upstreams.kill(OWN)
        try:
            body = {} if method in ("GET", "DELETE") else {"content": b"x" * 1000}
            answer = httpx.request(method, self.line.url() + "/echo/new", trust_env=False, **body)  # type: ignore[arg-type]
            assert answer.status_code == 200, answer.text
            assert (answer.json()["role"], answer.json()["body"]) == (OTHER, 1000 if body else 0)
        finally:
            self.line.upstreams.heal(OWN)
        self.settle()

    def test_a_busy_service_is_asked_again_when_that_changes_nothing(self) -> None:
        self.asks("retries")
        self.settle()
        before = self.seen(OWN, OTHER, path="/echo/busy"), self.seen(OWN, OTHER, path="/never/busy")
        assert self.get("/echo/busy", x_test_status="503").status_code == 503
        assert 2 <= self.seen(OWN, OTHER, path="/echo/busy") - before[0] <= 5
        assert self.get("/never/busy", x_test_status="503").status_code == 503
        assert self.seen(OWN, OTHER, path="/never/busy") - before[1] == 1
        self.settle()

    def test_retries_stay_within_their_budget(self) -> None:
        self.asks("retry_budget")
        together = 120
        statuses = asyncio.run(self.at_once(together, "/bounded", 503))
        assert set(statuses) <= {"503", "504"}
        tried = self.seen("bounded.a", "bounded.b", path="/bounded")
        # A fifth of what is under way at a time, not every request three times.
        assert together < tried <= 1.5 * together, tried

    async def at_once(self, number: int, path: str, status: int, reach: int | None = None) -> list[str]:
        """Requests that all wait for the service at the same moment. reach: how many of them get to it."""
        hold = uuid.uuid4().hex
        head = f"GET {path} HTTP/1.1\r\nhost: x\r\nx-test-status: {status}\r\nx-test-hold: {hold}\r\n\r\n"
        host, port = self.line.address()
        ends = await asyncio.gather(*(asyncio.open_connection(host, port) for _ in range(number)))
        for _, writer in ends:
            writer.write(head.encode())
        assert await becomes(lambda: self.line.upstreams.waiting() == (number if reach is None else reach))
        self.line.upstreams.release(hold)
        lines = await asyncio.wait_for(asyncio.gather(*(reader.readline() for reader, _ in ends)), PATIENCE)
        for _, writer in ends:
            writer.close()
        return [line.decode().split()[1] for line in lines]

    # instances

    def targets(self) -> list[Target]:
        """The instances as they are at first, the own zone's before the other's."""
        return [
            Target(name=role, host=host, port=port, distance=distance)
            for distance, role in enumerate((OWN, OTHER))
            for host, port in [self.line.addresses[(role, "http")]]
        ]

    def change(self, wanted: list[Target]) -> None:
        engine = system("gateway", self.system).engine
        live = importlib.import_module(f"tierline.engines.{engine}.live")
        live.instances(self.line.folder(), {"haproxy": "gateway-a-echo"}.get(engine, "echo"), wanted)

    def test_instances_change_under_steady_requests(self) -> None:
        self.asks("live_upstreams")
        self.settle()
        port = free_port()
        self.line.upstreams.start("echo.new", "127.0.0.1", port)
        first, new = self.targets(), Target(name="echo.new", host="127.0.0.1", port=port)
        draining = msgspec.structs.replace(first[0], draining=True)
        with self.steadily("/echo/live") as found:
            for _ in range(3):
                for wanted in ([*first, new], [draining, *first[1:], new], first):
                    before = found[200], self.seen("echo.new", path="/echo/live")
                    self.change(wanted)
                    assert eventually(lambda: found[200] > before[0] + 30), found  # noqa: B023
                    if wanted[0] is draining:
                        assert eventually(lambda: self.seen("echo.new", path="/echo/live") > before[1])  # noqa: B023
        assert set(found) == {200}, found

    def test_a_drained_instance_ends_what_it_began(self) -> None:
        self.asks("live_upstreams")
        self.settle()
        port = free_port()
        self.line.upstreams.start("echo.next", "127.0.0.1", port)
        first, new = self.targets(), Target(name="echo.next", host="127.0.0.1", port=port)
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(self.get, "/echo/slow", x_test_hold="drained")
            assert eventually(lambda: self.seen(OWN, path="/echo/slow"))
            self.change([msgspec.structs.replace(first[0], draining=True), *first[1:], new])
            assert eventually(lambda: self.get("/echo").json()["role"] == "echo.next")
            before = self.seen(OWN)
            assert {self.get("/echo").status_code for _ in range(20)} == {200}
            assert self.seen(OWN) == before
            self.line.upstreams.release("drained")
            assert slow.result().status_code == 200
        self.change(first)
        self.settle()

    # monitoring

    def test_requests_are_counted_on_the_units_own_socket(self) -> None:
        self.asks("metrics")
        before = self.counted("echo", "2")
        for _ in range(7):
            self.get("/echo")
        assert eventually(lambda: self.counted("echo", "2") - before >= 7)
        assert self.counted("echo", "2") - before == 7
        assert "# TYPE" in self.metrics()
        failed = self.counted("echo", "5")
        self.client.post("/echo", headers={"x-test-status": "503"})
        assert self.counted("echo", "5") - failed == 1

    def metrics(self) -> str:
        for name, path in (("metrics.sock", "/metrics"), ("admin.sock", "/stats/prometheus")):
            if (self.line.folder() / name).exists():
                transport = httpx.HTTPTransport(uds=str(self.line.folder() / name))
                with httpx.Client(transport=transport, base_url="http://x") as client:
                    return client.get(path).text
        raise AssertionError("there is no socket for metrics")

    def counted(self, service: str, kind: str) -> int:
        """Answers of a service whose status begins so, of whatever the engine calls them."""
        names = ("envoy_cluster_upstream_rq_xx", "haproxy_backend_http_responses_total",
                 "tierline_gateway_requests_total")  # fmt: skip
        found = 0
        for line in self.metrics().splitlines():
            name, _, rest = line.partition("{")
            labels, _, number = rest.rpartition("} ")
            mine = re.search(rf'="(gateway-a-)?{service}"', labels)
            if name in names and mine and re.search(rf'(code|class|status)="{kind}', labels):
                found += int(float(number))
        return found

    def test_the_socket_is_nobody_elses(self) -> None:
        self.asks("metrics")
        assert self.line.folder().stat().st_mode & 0o077 == 0
        host, port = self.line.address()
        with socket.create_connection((host, port)) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert b" 404 " in sock.recv(100)


class SpellingContract(Contract):
    """A service that takes every path, and rules for some of them: a rule must hold for each way to write its path."""

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                access=[Access(paths=["/admin"], addresses=["10.0.0.0/8"])],
                keys=APIKeys(consumers={"ann": ""}, paths=["/keyed"]),
                max_body="64KiB",
            ),
            services=[Service("echo", "app:app", expose=["/"])],
            zones=["a"],
        )

    @pytest.mark.parametrize(
        "path",
        ["/%61dmin", "/ad%6Din/x", "/admin/", "//admin", "/admin%2f", "/x%5c..%5cadmin", "/x/../admin", "/x/%2e%2e/admin",
         "/./admin", "/admin%00", "/admin?x", "http://x/admin", "/%6beyed", "/%6B%65yed/x"],
    )  # fmt: skip
    def test_every_spelling_of_a_path_meets_its_rule(self, path: str) -> None:
        before = len(self.line.upstreams.seen)
        head = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        status = int(raw(self.line.address(), head.encode()).split()[1])
        assert status == 400 or status == (401 if "yed" in path else 403)
        assert len(self.line.upstreams.seen) == before

    def test_other_paths_go_on_as_they_mean(self) -> None:
        for path in ("/caf%C3%A9", "/a%20b", "/x?y=%2fz%26", "/100%25"):
            assert self.arrived(self.get(path))["path"] == path
