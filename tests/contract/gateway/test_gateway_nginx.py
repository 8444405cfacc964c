"""gateway.nginx keeps the gateway's contract; and what is nginx's alone: reloads, and one process for three tiers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from body_suite import BodyContract
from edge import Line, raw
from feature_suite import Contract
from gateway_running_suite import RunningContract, SpellingContract
from gateway_suite import GatewayContract, bearer, jwks, token
from keys_suite import KeysContract
from limits_suite import LimitsContract
from login_suite import LoginContract
from mtls_suite import MTLSContract
from openapi_suite import OpenAPIContract
from shared_limits_suite import SharedLimitsContract

from ports import free_port
from tierline import JWT, MTLS, Gateway, HTTPCache, LoadBalancer, RateLimit, Service, Stack
from tierline.run.addresses import Addresses
from tierline.run.context import LocalContext
from tierline.trips.normalise import hop as normalised
from waiting import eventually


class TestNginx(GatewayContract):
    system = "nginx"


class TestNginxKeys(KeysContract):
    system = "nginx"


class TestNginxOpenAPI(OpenAPIContract):
    system = "nginx"


class TestNginxLogin(LoginContract):
    system = "nginx"


class TestNginxMTLS(MTLSContract):
    system = "nginx"


class TestNginxBodies(BodyContract):
    system = "nginx"


class TestNginxSharedLimits(SharedLimitsContract):
    system = "nginx"


class TestNginxRunning(RunningContract):
    system = "nginx"

    def test_instances_change_by_a_reload(self) -> None:
        """What `lacks` says of live_upstreams: connections that idle are closed, and nothing else happens. Who is in
        front (HAProxy, nginx, Varnish) asks again on another one."""
        self.settle()
        host, own = self.line.addresses[("echo.a", "http")]
        port = free_port()
        self.line.upstreams.start("echo.reloaded", host, port)
        with self.steadily("/echo/reloaded") as found:
            for place in (port, own) * 3:
                role = "echo.reloaded" if place == port else "echo.a"
                before = self.seen(role, path="/echo/reloaded")
                known = {**dict(self.line.addresses.items()), ("echo.a", "http"): (host, place)}
                self.line.context = LocalContext(self.line.plan, self.line.state, Addresses(known))
                self.line.reload()
                more = lambda role=role, before=before: self.seen(role, path="/echo/reloaded") > before + 20  # noqa: E731
                assert eventually(more), role
        closed = {"ReadError", "RemoteProtocolError", "WriteError"}
        assert set(found) - closed == {200}, found
        assert sum(found[name] for name in closed) <= 4 * 6  # each client's one connection, at each reload
        assert self.seen("echo.reloaded", path="/echo/reloaded") > 20

    def test_a_request_under_way_outlives_a_reload(self) -> None:
        self.settle()
        ask = b"GET /echo/slow HTTP/1.1\r\nhost: x\r\nx-test-sleep: 0.8\r\nconnection: close\r\n\r\n"
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(raw, self.line.address(), ask, 4)
            assert eventually(lambda: self.seen("echo.a", path="/echo/slow"))
            self.line.running["gateway.a"].send_signal(signal.SIGHUP)
            assert slow.result().split()[1] == b"200"


class TestNginxMemory(Contract):
    """What one request leaves behind for the next."""

    system = "nginx"

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                limits=[RateLimit(3, per="60s", by="all", paths=["/limited"])],
                raw="location = /raw { return 200 raw; }",
            ),
            services=[Service("echo", "app:app", expose=["/"])],
            zones=["a"],
        )

    def test_a_limit_outlives_a_reload(self) -> None:
        assert [self.get("/limited").status_code for _ in range(4)] == [200, 200, 200, 429]
        master = psutil.Process(self.line.running["gateway.a"].pid)
        before = {each.pid for each in master.children()}
        self.line.running["gateway.a"].send_signal(signal.SIGHUP)
        assert eventually(lambda: not before & {each.pid for each in master.children()}), (
            "its workers are new"
        )
        assert httpx.get(self.line.url() + "/limited", trust_env=False).status_code == 429

    @pytest.mark.parametrize(
        "header",
        [
            "x_tierline_consumer: ann",
            "x-tierline-other: ann",
            "x-original-url: /admin",
            "x-http-method-override: PUT",
        ],
    )
    def test_headers_that_say_what_is_not_so_end_here(self, header: str) -> None:
        head = f"GET /seen HTTP/1.1\r\nhost: x\r\n{header}\r\nconnection: close\r\n\r\n"
        assert raw(self.line.address(), head.encode()).split()[1] == b"200"
        name = header.partition(":")[0]
        assert self.line.upstreams.seen[-1].header(name) is None

    def test_two_authorizations_are_refused(self) -> None:
        head = b"GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n"
        answer = raw(self.line.address(), head)
        assert answer.split()[1] == b"400" and b"application/problem+json" in answer

    def test_the_stacks_own_lines_are_in_the_server(self) -> None:
        assert self.get("/raw").text == "raw"


class TestNginxWithoutKeys(Contract):
    """An issuer whose keys can't be had yet: nobody gets in, and what needs no token is answered."""

    system = "nginx"

    @classmethod
    def prepare(cls, root: Path) -> None:
        (root / "keys.json").write_text('{"keys": []}')

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(auth=JWT(issuer="issuer", audience="us", paths=["/private"], jwks="keys.json")),
            services=[Service("echo", "app:app", expose=["/private", "/open"])],
            zones=["a"],
        )

    def test_keys_that_come_later_let_people_in(self) -> None:
        told = self.refused(self.get("/private", **bearer(token())), 401)
        assert told["trace_id"]
        self.refused(self.get("/private"), 401)
        self.arrived(self.get("/open"))
        (self.line.root / "keys.json").write_text(jwks("one"))
        self.line.reload()
        private, known = self.line.url() + "/private", bearer(token())
        assert eventually(lambda: httpx.get(private, headers=known, trust_env=False).status_code == 200), (
            "the keys are still unknown"
        )


class TestNginxFused:
    """Balancer, cache and gateway in one process: each tier still shows its hop."""

    @pytest.fixture(scope="class")
    @classmethod
    def line(cls) -> Iterator[Line]:
        stack = Stack(
            "edge",
            lb=LoadBalancer(),
            cache=HTTPCache(),
            gateway=Gateway(
                limits=[RateLimit(100, per="1s")], mtls=MTLS(consumers={"acme": "acme"}, paths=["/b2b"])
            ),
            services=[Service("echo", "app:app", expose=["/echo"])],
            zones=["a", "b"],
        )
        line = Line(stack, "gateway", {name: "nginx" for name in ("lb", "cache", "gateway")})
        try:
            yield line.start()
        finally:
            line.close()

    def test_one_process_shows_three_hops(self, line: Line) -> None:
        assert set(line.running) == {"nginx.a", "limits"}
        host, port = line.addresses[("lb.a", "http")]
        trace = "c" * 32
        asked = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-test-header": "cache-control: no-store"}
        answer = httpx.get(f"http://{host}:{port}/echo", headers=asked, trust_env=False)
        assert (answer.status_code, answer.json()["role"]) == (200, "echo.a")
        assert answer.json()["headers"]["x-forwarded-for"] == "127.0.0.1"
        hops = line.root / ".tierline" / "hops"

        def tiers() -> set[str]:
            lines = [each for path in hops.glob("*.a.jsonl") for each in path.read_bytes().splitlines()]
            return {hop.tier for each in lines if (hop := normalised(each))}

        assert eventually(lambda: tiers() == {"lb", "cache", "gateway"}), tiers()

    def test_a_limit_counts_who_is_behind_the_balancer(self, line: Line) -> None:
        host, port = line.addresses[("lb.a", "http")]
        answer = httpx.get(
            f"http://{host}:{port}/echo", headers={"x-forwarded-for": "10.1.1.1"}, trust_env=False
        )
        assert answer.headers["ratelimit-limit"] == "100"
        assert answer.json()["headers"]["x-forwarded-for"] == "127.0.0.1"


class TestNginxSpelling(SpellingContract):
    system = "nginx"


class TestNginxLimits(LimitsContract):
    system = "nginx"
    one_body = True
