"""What every load balancer must do, a test per feature. A system inherits it with an empty subclass; a feature
that it declares to lack is skipped by its name."""

from __future__ import annotations

import contextlib
import imaplib
import importlib
import json
import poplib
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest

from ports import free_port

sys.path.insert(0, str(Path(__file__).parents[1]))
from edge import Line, raw

from acme_server import ACMEServer
from tierline import ACME, JWT, Gateway, HTTPCache, LoadBalancer, Service, Stack
from tierline.engines.target import Target
from tierline.tiers.base import system
from tierline.trips.normalise import hop
from waiting import PATIENCE, eventually, expires, never

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NEAR = {"web.a", "web.a-2"}
FAR = {"web.b", "web.b-2"}

LINES: dict[str, dict[str, Any]] = {
    "main": {
        "health": "/health", "health_interval": "200ms", "hsts": "1d", "redirect_http": True,
        "hosts": ["edge.localhost", "*.edge.localhost", "localhost"], "header_timeout": "1s",
        "body_timeout": "5s",
    },
    "least": {"balance": "least_request", "zone_aware": False},
    "weighted": {"zone_aware": False, "weights": {"a": 75, "b": 25}},
    "hashed": {"balance": "consistent_hash", "zone_aware": False},
    "sticky": {
        "sticky": "where", "zone_aware": False, "http3": True, "health": "/health", "health_interval": "200ms",
    },
    "proxied": {"proxy_protocol": True},
    "queued": {"per_instance": 2, "max_connections": 60, "queue": "60s"},
    "impatient": {"per_instance": 2, "queue": "1s"},
    "slow": {"slow_start": "9s", "health": "/health", "health_interval": "200ms"},
    "grpc": {"h2c": True, "zone_aware": False},
    "mail": {"mail": "post", "health_interval": "200ms"},
    "acme": {"redirect_http": True, "hosts": ["edge.localhost"]},
    "bypass": {"health": "/health", "health_interval": "200ms"},
    "limits": {"max_body": "64KiB", "timeout": "1s", "idle_timeout": "2s"},
    "owned": {"certificate": "own.pem", "weights": {"a": 0, "b": 100}, "zone_aware": False},
}  # fmt: skip
"""The lines of the suite: what each of them asks for."""


def stack(settings: dict[str, Any]) -> Stack:
    from tierline import Mail, Scale

    uses = [Mail(settings["mail"])] if "mail" in settings else []
    if settings is LINES["bypass"]:
        return Stack(
            "edge", lb=LoadBalancer(**settings), cache=HTTPCache(bypass=["/cart"]), zones=["a", "b"],
            gateway=Gateway(auth=JWT("https://issuer.test", "api", paths=["/me"])),
            services=[
                Service("mine", "app:app", expose=["/my"], private=True),
                Service("web", "app:app", expose=["/", "/my/films"]),
            ],
        )  # fmt: skip
    return Stack(
        "edge",
        lb=LoadBalancer(**settings),
        services=[Service("web", "app:app", expose=["/"], scale=Scale(2, 2), uses=uses)],
        zones=["a", "b"],
    )


class LoadBalancerContract:
    """Inherit it and name the system."""

    system: ClassVar[str] = ""
    lines: ClassVar[dict[str, Line]]
    acme: ACMEServer

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def running(cls) -> Iterator[None]:
        cls.lines = {}
        yield
        for line in cls.lines.values():
            line.close()

    def line(self, name: str = "main") -> Line:
        """A line of the suite, started by the first who asks."""
        if name not in self.lines:
            settings = LINES[name]
            if name == "acme":
                self.acme = ACMEServer(Path(tempfile.mkdtemp(prefix="tierline-acme-")), {})
                issuer = ACME(self.acme.url + "/directory", authority=str(self.acme.web_trust))
                settings = {**settings, "certificate": issuer}
            gateway = "haproxy" if self.system == "envoy" else "envoy"
            line = Line(stack(settings), "lb", {"lb": self.system, "cache": "varnish", "gateway": gateway})
            if name == "owned":
                chain, key = line.context.certificate("owned.test", "localhost", line.address()[0])
                (line.root / "own.pem").write_text(chain.read_text() + key.read_text())
            self.lines[name] = line
            line.start()
        return self.lines[name]

    def asks(self, feature: str) -> None:
        """Skip a feature that the system declares to lack, by its name."""
        provider = system("lb", self.system)
        if feature not in provider.supports:
            assert provider.lacks.get(feature), f"{provider.title} neither supports nor lacks {feature}"
            pytest.xfail(f"lb.{self.system} lacks {feature}: {provider.lacks[feature]}")

    def trust(self, line: Line) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(line.context.authority))

    def client(self, name: str = "main", http2: bool = False) -> httpx.Client:
        line = self.line(name)
        host = "edge.localhost" if name == "main" else "localhost"
        return httpx.Client(
            base_url=line.url(endpoint="https"), verify=self.trust(line), http2=http2, trust_env=False, timeout=PATIENCE,
            headers={"host": host},
        )  # fmt: skip

    def roles(self, name: str, times: int, path: str = "/x", **headers: str) -> Counter[str]:
        """Who answers, how often; each request on a connection of its own kind of luck."""
        with self.client(name) as client:
            found: Counter[str] = Counter()
            for _ in range(times):
                answer = client.get(path, headers=headers)
                assert answer.status_code == 200, answer.text
                found[answer.json()["role"]] += 1
            return found

    def settle(self, name: str, wanted: set[str]) -> None:
        """Wait until exactly these answer."""
        self.settle_on(name, "/x", wanted)

    def settle_on(self, name: str, path: str, wanted: set[str]) -> None:
        def answering() -> bool:
            with self.client(name) as client:
                answers = [client.get(path) for _ in range(12)]
            return {each.json()["role"] if each.status_code == 200 else "" for each in answers} == wanted

        assert eventually(answering), f"it never comes to {wanted}"

    # TLS

    def handshake(self, version: ssl.TLSVersion, ciphers: str | None = None) -> tuple[str, str] | None:
        """Protocol and cipher, or None when the handshake is refused."""
        line = self.line()
        context = self.trust(line)
        context.check_hostname = True
        with contextlib.suppress(ssl.SSLError, ValueError):
            context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
            with (
                socket.create_connection(line.address(endpoint="https"), timeout=PATIENCE) as sock,
                context.wrap_socket(sock, server_hostname="edge.localhost") as secure,
            ):
                return str(secure.version()), str((secure.cipher() or ("",))[0])
        return None

    def test_speaks_tls_with_the_right_certificate(self) -> None:
        self.asks("tls")
        assert (self.handshake(ssl.TLSVersion.TLSv1_3) or ("",))[0] == "TLSv1.3"
        assert (self.handshake(ssl.TLSVersion.TLSv1_2) or ("",))[0] == "TLSv1.2"
        with socket.create_connection(self.line().address(endpoint="https"), timeout=PATIENCE) as sock:
            secure = self.trust(self.line()).wrap_socket(sock, server_hostname="x.edge.localhost")
            names = {value for _, value in secure.getpeercert()["subjectAltName"]}  # type: ignore[index]
            secure.close()
        assert {"edge.localhost", "*.edge.localhost"} <= names

    @pytest.mark.parametrize(
        "cipher", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-SHA", "AES128-GCM-SHA256"]
    )
    def test_refuses_old_ciphers(self, cipher: str) -> None:
        self.asks("tls_profile")
        assert self.handshake(ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0") is None
        assert self.handshake(ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256") is not None

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    @pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
    def test_refuses_old_versions(self, version: str) -> None:
        self.asks("tls_profile")
        assert self.handshake(ssl.TLSVersion[version]) is None

    def test_speaks_http2(self) -> None:
        self.asks("http2")
        with self.client(http2=True) as client:
            assert client.get("/x").http_version == "HTTP/2"
        with self.client() as client:
            assert client.get("/x").http_version == "HTTP/1.1"

    def test_tells_of_http3(self) -> None:
        self.asks("http3")
        with self.client("sticky") as client:
            _, port = self.line("sticky").address(endpoint="https")
            assert client.get("/").headers["alt-svc"].startswith(f'h3=":{port}"')
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            # A QUIC packet of a version that nobody has is answered with the versions that there are.
            sock.settimeout(PATIENCE)
            packet = b"\xc0\x0a\x0a\x0a\x0a\x08" + b"12345678" + b"\x08" + b"87654321" + bytes(1200)
            sock.sendto(packet, self.line("sticky").address(endpoint="https"))
            answer = sock.recv(1500)
            assert answer[1:5] == bytes(4) and b"\x00\x00\x00\x01" in answer[5:]

    def test_answers_over_http3(self) -> None:
        self.asks("http3")
        from http3 import get

        line = self.line("sticky")
        host, port = line.address(endpoint="https")
        answers = get(host, port, "localhost", ["/h3", "/h3?b"], line.context.authority)
        assert [status for status, _ in answers] == [200, 200]
        seen = [json.loads(body) for _, body in answers]
        assert [each["path"] for each in seen] == ["/h3", "/h3?b"]
        assert seen[0]["headers"]["x-forwarded-proto"] == "https"
        assert seen[0]["headers"]["x-forwarded-for"] == "127.0.0.1"

    def test_a_certificate_of_ones_own(self) -> None:
        self.asks("tls")
        with socket.create_connection(self.line("owned").address(endpoint="https"), timeout=PATIENCE) as sock:
            secure = self.trust(self.line("owned")).wrap_socket(sock, server_hostname="owned.test")
            secure.close()

    def test_a_certificate_by_acme(self) -> None:
        """Issued, proven through the balancer's plain port, and shown by it as it runs; again when it is renewed.
        Renewing in time and under load is tested with whole lines, tests/run/test_run_acme.py."""
        self.asks("acme")
        line, issued = self.line("acme"), self.line("acme").plan.roles["lb.a"].settings["certificate"]
        self.acme.where["edge.localhost"] = line.address()
        trust = ssl.create_default_context(cafile=str(self.acme.trust))
        (process,) = (
            each for each in line.processes.values() if each.engine == system("lb", self.system).engine
        )
        live = importlib.import_module(f"tierline.engines.{process.engine}.live")

        def shown() -> int:
            """The serial number; 0 of one that isn't the issuer's."""
            with (
                contextlib.suppress(ssl.SSLCertVerificationError),
                socket.create_connection(line.address(endpoint="https"), timeout=PATIENCE) as sock,
            ):
                secure = trust.wrap_socket(sock, server_hostname="edge.localhost")
                return int(secure.getpeercert()["serialNumber"], 16)  # type: ignore[index, arg-type]
            return 0

        for number in range(2):
            answering = [
                at for (role, name), at in line.addresses.items() if (role, name) == ("lb.a", "challenge")
            ]
            line.context.acme_of(issued).renew(answering)
            line.rewrite(process.name)
            for path in process.certificates:
                live.certificate(Path(path))
            assert len(self.acme.issued) == number + 1
            assert eventually(lambda: shown() == self.acme.issued[-1])
        self.acme.close()

    def test_sends_plain_http_to_https(self) -> None:
        self.asks("redirect_http")
        line = self.line()
        _, port = line.address(endpoint="https")
        for host in ("edge.localhost", "edge.localhost:80"):
            answer = httpx.get(line.url() + "/a?b=c", headers={"host": host}, trust_env=False)
            assert answer.status_code in (301, 307, 308)
            assert answer.headers["location"] == f"https://edge.localhost:{port}/a?b=c"

    def test_hsts(self) -> None:
        self.asks("hsts")
        with self.client() as client:
            assert client.get("/x").headers["strict-transport-security"].startswith("max-age=86400")

    # who answers

    def test_one_after_the_other(self) -> None:
        self.asks("round_robin")
        found = self.roles("main", 40)
        assert set(found) <= NEAR
        assert 15 <= found["web.a"] <= 25

    def test_who_has_least_to_do(self) -> None:
        self.asks("least_request")
        line = self.line("least")
        with ThreadPoolExecutor(12) as pool, self.client("least") as client:
            slow = [pool.submit(client.get, "/slow", headers={"x-test-hold": "slow"}) for _ in range(2)]
            assert eventually(lambda: line.upstreams.waiting() == 2)
            busy = {seen.role for seen in line.upstreams.seen if seen.path == "/slow"}
            answers = list(pool.map(lambda _: client.get("/quick").json()["role"], range(400)))
            line.upstreams.release("slow")
            assert all(each.result().status_code == 200 for each in slow)
        share = sum(role in busy for role in answers) / len(answers)
        assert share < 0.45

    def test_shares_by_weight(self) -> None:
        self.asks("weights")
        found = self.roles("weighted", 200)
        near = sum(found[role] for role in NEAR)
        assert 130 <= near <= 170

    def test_a_weight_of_nothing(self) -> None:
        self.asks("weights")
        assert set(self.roles("owned", 20)) == FAR

    def test_the_same_path_to_the_same_instance(self) -> None:
        self.asks("consistent_hash")
        first = {path: set(self.roles("hashed", 2, path)) for path in (f"/p/{n}" for n in range(30))}
        assert all(len(roles) == 1 for roles in first.values())
        assert len({role for roles in first.values() for role in roles}) >= 3
        assert set(self.roles("hashed", 2, "/p/1?q=1")) == first["/p/1"]

    def test_few_paths_move_when_an_instance_goes(self) -> None:
        self.asks("consistent_hash")
        line = self.line("hashed")
        paths = [f"/m/{number}" for number in range(60)]
        with self.client("hashed") as client:
            before = {path: client.get(path).json()["role"] for path in paths}
            line.upstreams.kill("web.b-2")
            after: dict[str, str] = {}

            def left_out() -> bool:
                answers = [client.get(path) for path in paths]
                after.update(
                    {path: each.headers.get("x-role", "") for path, each in zip(paths, answers, strict=True)}
                )
                return not {"web.b-2", ""} & set(after.values())

            try:
                assert eventually(left_out), after
            finally:
                line.upstreams.heal("web.b-2")
        stayed = [before[path] == after[path] for path in paths if before[path] != "web.b-2"]
        # Envoy's ring has as many points for three as for four, so a sixth of the others move; elsewhere none does.
        assert sum(stayed) >= 0.7 * len(stayed)

    def test_a_client_stays_with_its_instance(self) -> None:
        self.asks("sticky")
        line = self.line("sticky")
        with self.client("sticky") as client:
            answer = client.get("/")
            first, cookie = answer.json()["role"], answer.headers["set-cookie"].lower()
            assert client.cookies and "httponly" in cookie and "samesite=lax" in cookie
            assert {client.get("/").json()["role"] for _ in range(12)} == {first}
            line.upstreams.kill(first)
            other = client.get("/")
            while "seamless" not in system("lb", self.system).supports and other.status_code == 502:
                other = client.get("/")
            assert other.status_code == 200 and other.json()["role"] != first
            line.upstreams.heal(first)

    # zones and health

    def test_the_own_zone_first_the_others_when_it_is_down(self) -> None:
        self.asks("zone_aware")
        line = self.line()
        self.settle("main", NEAR)
        before = len(line.upstreams.seen)
        with ThreadPoolExecutor(6) as pool, self.client() as client:
            asked = pool.map(lambda _: client.get("/x").status_code, range(400))
            assert eventually(lambda: len(line.upstreams.seen) > before + 50, every=0.001)
            for role in NEAR:
                line.upstreams.kill(role)
            failed = [status for status in asked if status != 200]
        self.settle("main", FAR)
        for role in NEAR:
            line.upstreams.heal(role)
        self.settle("main", NEAR)
        if "seamless" in system("lb", self.system).supports:
            assert failed == []
        else:
            assert set(failed) <= {502}, "until a check has seen it"

    def test_what_no_copy_can_answer_bypasses_the_cache(self) -> None:
        self.asks("bypass")
        gateway, cache = {"gateway.a"}, {"cache.a"}
        with self.client("bypass") as client:
            assert eventually(lambda: {client.get(path).status_code for path in ("/cart", "/films")} == {200})
        for path in ("/cart", "/cart/1?x=/films", "/me", "/me/orders", "/my", "/my/x"):
            assert set(self.roles("bypass", 3, path)) == gateway, path
        for path in ("/", "/carts", "/x/cart", "/x?/cart", "/meter", "/my/films", "/my/films/1", "/mystery"):
            assert set(self.roles("bypass", 3, path)) == cache, path

    def test_a_service_is_told_the_same_whichever_way_a_request_came(self) -> None:
        self.asks("bypass")
        line = self.line("bypass")
        given = {
            "x-original-url": "/admin", "x-http-method-override": "DELETE", "x-tierline-claims": "e30",
            "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
        }  # fmt: skip
        with self.client("bypass") as client:
            for path in ("/cart", "/films"):
                answer = client.get(path, headers=given)
                assert answer.status_code in (200, 400) and "surrogate-key" not in answer.headers
        for seen in line.upstreams.seen:
            told = {name.lower() for name, _ in seen.headers}
            assert not told & {"x-original-url", "x-http-method-override", "x-tierline-claims"}
            assert seen.header("x-forwarded-for") and seen.header("x-forwarded-proto") == "https"

    def test_another_zones_gateway_takes_over_what_bypasses_the_cache(self) -> None:
        self.asks("bypass")
        line = self.line("bypass")
        self.settle_on("bypass", "/cart", {"gateway.a"})
        line.upstreams.kill("gateway.a")
        try:
            self.settle_on("bypass", "/cart", {"gateway.b"})
            assert set(self.roles("bypass", 3, "/films")) == {"cache.a"}
        finally:
            line.upstreams.heal("gateway.a")
        self.settle_on("bypass", "/cart", {"gateway.a"})

    def test_who_fails_a_health_check_is_left_out(self) -> None:
        self.asks("active_health")
        line = self.line()
        self.settle("main", NEAR)
        line.upstreams.sick.add("web.a-2")
        try:
            self.settle("main", {"web.a"})
        finally:
            line.upstreams.sick.clear()
        self.settle("main", NEAR)

    def test_an_instance_that_comes_back_gets_its_share_little_by_little(self) -> None:
        self.asks("slow_start")
        line = self.line("slow")
        self.settle("slow", NEAR)
        expires(9)  # until both have their whole share, as they are new, too
        line.upstreams.sick.add("web.a-2")
        self.settle("slow", {"web.a"})
        line.upstreams.sick.clear()
        assert eventually(lambda: "web.a-2" in self.roles("slow", 6))
        early = self.roles("slow", 30)
        assert early["web.a-2"] < 13, early
        assert eventually(lambda: 40 <= self.roles("slow", 100)["web.a-2"] <= 60)

    def test_who_fails_a_request_is_left_out(self) -> None:
        self.asks("passive_health")
        line = self.line("least")
        self.roles("least", 8)
        line.upstreams.kill("web.b")
        try:
            assert "web.b" not in self.roles("least", 40)
        finally:
            line.upstreams.heal("web.b")

    def test_instances_change_under_load(self) -> None:
        """Twelve changes while clients ask all the time: a new instance, its weight, draining, away again."""
        self.asks("live_upstreams")
        self.asks("draining")
        line = self.line("weighted")
        provider = system("lb", self.system)
        live = importlib.import_module(f"tierline.engines.{provider.engine}.live")
        backend = {"haproxy": "lb-a-next", "traefik": "lb.a-next"}.get(provider.engine, "web")
        first = [
            Target(name=role, host=host, port=port)
            for role in sorted(NEAR | FAR)
            for host, port in [line.addresses[(role, "http")]]
        ]
        port = free_port()
        line.upstreams.start("web.new", "127.0.0.1", port)
        new = Target(name="web.new", host="127.0.0.1", port=port)
        stop = threading.Event()

        def asking() -> list[int]:
            found = []
            with self.client("weighted") as client:
                while not stop.is_set():
                    found.append(client.get("/live", headers={"x-test-sleep": "0.005"}).status_code)
            return found

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(asking) for _ in range(4)]
            for _ in range(3):
                for wanted in (
                    [*first, new],
                    [*first, msgspec.structs.replace(new, weight=10)],
                    [*first[:-1], msgspec.structs.replace(first[-1], draining=True), new],
                    first,
                ):
                    before = len(line.upstreams.seen), len(line.upstreams.of("web.new"))
                    live.instances(line.folder(), backend, wanted)
                    assert eventually(lambda: len(line.upstreams.seen) > before[0] + 60)  # noqa: B023
                    if wanted[-1] is new and len(wanted) > len(first):
                        assert eventually(lambda: len(line.upstreams.of("web.new")) > before[1])  # noqa: B023
            stop.set()
            statuses = Counter(status for each in asked for status in each.result())
        assert set(statuses) == {200}, statuses

    def test_a_drained_instance_gets_nothing_new(self) -> None:
        self.asks("draining")
        line = self.line("least")
        provider = system("lb", self.system)
        live = importlib.import_module(f"tierline.engines.{provider.engine}.live")
        backend = {"haproxy": "lb-a-next", "traefik": "lb.a-next"}.get(provider.engine, "web")
        every = [
            Target(name=role, host=line.addresses[(role, "http")][0], port=line.addresses[(role, "http")][1])
            for role in sorted(NEAR | FAR)
        ]
        with ThreadPoolExecutor(1) as pool, self.client("least") as client:
            before = len(line.upstreams.seen)
            slow = pool.submit(client.get, "/drain", headers={"x-test-hold": "drain"})
            assert eventually(lambda: len(line.upstreams.seen) > before)
            gone = line.upstreams.seen[-1].role
            live.instances(line.folder(), backend, [msgspec.structs.replace(each, draining=each.name == gone)
                                                    for each in every])  # fmt: skip
            assert eventually(lambda: gone not in self.roles("least", 30))
            assert gone not in self.roles("least", 30)
            line.upstreams.release("drain")
            assert slow.result().status_code == 200
        live.instances(line.folder(), backend, every)

    # limits

    def test_requests_wait_when_all_are_busy(self) -> None:
        self.asks("queueing")
        line = self.line("queued")
        with ThreadPoolExecutor(12) as pool, self.client("queued") as client:
            held = {"x-test-hold": "all", "x-test-sleep": "0.1"}
            asked = [pool.submit(client.get, "/q", headers=held) for _ in range(12)]
            # Two instances of the own zone, two at once each.
            assert eventually(lambda: line.upstreams.waiting() == 4)
            line.upstreams.release("all")
            assert {each.result().status_code for each in asked} == {200}
        assert {seen.role for seen in line.upstreams.seen} <= NEAR
        assert set(line.upstreams.peak.values()) == {2}

    def test_who_waits_too_long_is_refused(self) -> None:
        self.asks("queue_timeout")
        line = self.line("impatient")
        with ThreadPoolExecutor(8) as pool, self.client("impatient") as client:
            asked = [pool.submit(client.post, "/q", headers={"x-test-hold": "q"}) for _ in range(8)]
            # As long as the service answers nothing.
            assert eventually(lambda: sum(each.done() for each in asked) == 4)
            line.upstreams.release("q")
            done = Counter(each.result().status_code for each in asked)
        assert done == {200: 4, 503: 4}

    def test_a_bound_on_connections(self) -> None:
        self.asks("connection_limit")
        address = self.line("queued").address()
        held = []
        try:
            for _ in range(80):
                try:
                    held.append(socket.create_connection(address, timeout=0.5))
                except OSError:
                    break  # it no longer accepts
            for sock in held:
                sock.settimeout(0.02)
                with contextlib.suppress(OSError):
                    sock.sendall(b"GET /c HTTP/1.1\r\nhost: localhost\r\n\r\n")
            served = lambda: len([seen for seen in self.line("queued").upstreams.seen if seen.path == "/c"])  # noqa: E731
            assert eventually(lambda: served() >= 40), served()
            assert never(lambda: served() > 60), served()
        finally:
            for sock in held:
                sock.close()

    # who comes

    def test_the_clients_address(self) -> None:
        with self.client() as client:
            seen = client.get(
                "/x", headers={"x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "gopher"}
            ).json()
        assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
        assert seen["headers"]["x-forwarded-proto"] == "https"

    def test_who_comes_plainly_cannot_say_that_it_was_https(self) -> None:
        answer = httpx.get(
            self.line("least").url() + "/x", headers={"x-forwarded-proto": "https"}, trust_env=False
        )
        assert answer.json()["headers"]["x-forwarded-proto"] == "http"

    @pytest.mark.parametrize("version", [1, 2])
    def test_the_clients_address_from_a_proxy(self, version: int) -> None:
        self.asks("proxy_protocol")
        head = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n"
        if version == 2:
            head = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(
                [192, 0, 2, 7, 127, 0, 0, 1, 18, 103, 1, 187]
            )
        request = b"GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        assert b'"x-forwarded-for": "192.0.2.7"' in raw(self.line("proxied").address(), head + request)
        assert b"200" not in raw(self.line("proxied").address(), request, 1)[:12]

    def test_nobody_can_pretend_to_have_claims(self) -> None:
        with self.client() as client:
            seen = client.get("/x", headers={"x-tierline-claims": "e30", "x-tierline-consumer": "x"}).json()
        assert not [name for name in seen["headers"] if name.startswith("x-tierline")]

    def test_hosts_of_strangers(self) -> None:
        self.asks("known_hosts")
        before = len(self.line().upstreams.seen)
        with self.client() as client:
            for host in ("evil.test", "edge.localhost.evil.test", "127.0.0.1"):
                assert client.get("/x", headers={"host": host}).status_code in (421, 404), host
            assert len(self.line().upstreams.seen) == before
            for host in ("edge.localhost", "EDGE.localhost:8443", "www.edge.localhost"):
                assert client.get("/x", headers={"host": host}).status_code == 200, host

    # other protocols

    def test_websockets(self) -> None:
        self.asks("websocket")
        line = self.line()
        ask = (
            b"GET /ws HTTP/1.1\r\nhost: edge.localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with socket.create_connection(line.address(endpoint="https"), timeout=PATIENCE) as sock:
            secure = self.trust(line).wrap_socket(sock, server_hostname="edge.localhost")
            secure.sendall(ask)
            head = secure.recv(4096)
            assert head.startswith(b"HTTP/1.1 101"), head
            secure.sendall(b"ping")
            assert secure.recv(4096).endswith(b"ping")

    def test_trailers(self) -> None:
        self.asks("trailers")
        line = self.line()
        done = subprocess.run(
            ["nghttp", "-nv", "-H:authority: edge.localhost", "-H", "te: trailers", "-H", "x-test-trailer: 1",
             line.url(endpoint="https") + "/grpc"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert "grpc-status: 0" in done.stdout, done.stdout

    def test_grpc_calls_and_streams(self) -> None:
        self.asks("grpc")
        from grpcs import Servers, calls

        line = self.line("grpc")
        for role in NEAR | FAR:
            line.upstreams.kill(role)
        with Servers({role: line.addresses[(role, "http")] for role in NEAR | FAR}):
            host, port = line.address(endpoint="https")
            with calls(f"{host}:{port}", "localhost", line.context.authority.read_bytes()) as call:
                every, answers = {f"x from {role}".encode() for role in NEAR | FAR}, set()

                def back() -> bool:
                    answers.update(call.once(b"x") for _ in range(8))
                    return {role for role, _ in answers} == every

                assert eventually(back), answers
                assert {status for _, status in answers} == {"told"}
                assert call.refused() == ("NOT_FOUND", "nothing of that name")
                assert call.stream(5) == [b"0", b"1", b"2", b"3", b"4"]
                assert call.chat([b"a", b"b"]) == [b"A", b"B"]

    # mail

    def letter(self, subject: str) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "box@cinema.test", "ada@example.com", subject
        mail.set_content(".one dot\nGrüße!")
        return mail

    def password(self) -> str:
        return self.line("mail").context.secret("mailbox.password")

    def sent(self, subject: str) -> None:
        address = self.line("mail").address(endpoint="smtps")
        with smtplib.SMTP_SSL(*address, timeout=PATIENCE, context=self.trust(self.line("mail"))) as smtp:
            assert (smtp.sock.version() or "") >= "TLSv1.2"
            smtp.login("tierline", self.password())
            assert smtp.send_message(self.letter(subject)) == {}

    def test_mail_is_sent_over_tls(self) -> None:
        self.asks("mail")
        line = self.line("mail")
        self.sent("Over TLS")
        host, port = line.addresses[("post", "http")]
        token = line.context.secret("mailbox.token")
        mails = httpx.get(f"http://{host}:{port}/api/mails", params={"token": token}, trust_env=False).json()[
            "mails"
        ]
        assert mails[0]["subject"] == "Over TLS"
        assert mails[0]["recipients"] == ["ada@example.com"]
        address = line.address(endpoint="smtps")
        smtp = smtplib.SMTP_SSL(*address, timeout=PATIENCE, context=self.trust(line))
        # Refused, or hung up on: smtplib tries a second way of logging in.
        with pytest.raises((smtplib.SMTPAuthenticationError, smtplib.SMTPServerDisconnected)):
            smtp.login("tierline", "wrong")
        smtp.close()
        with pytest.raises((smtplib.SMTPException, OSError)):
            smtplib.SMTP(*address, timeout=2).ehlo()

    def test_mail_is_read_over_pop3(self) -> None:
        self.asks("mail_pop3")
        line = self.line("mail")
        self.sent("Read me")
        pop = poplib.POP3_SSL(*line.address(endpoint="pop3s"), timeout=PATIENCE, context=self.trust(line))
        pop.user("ada@example.com")
        pop.pass_(self.password())
        count, _ = pop.stat()
        lines = pop.retr(count)[1]
        assert b"Subject: Read me" in lines
        assert b".one dot" in lines
        pop.dele(count)
        pop.quit()
        pop = poplib.POP3_SSL(*line.address(endpoint="pop3s"), timeout=PATIENCE, context=self.trust(line))
        pop.user("tierline")
        with pytest.raises(poplib.error_proto):
            pop.pass_("wrong")
        pop.close()
        pop = poplib.POP3_SSL(*line.address(endpoint="pop3s"), timeout=PATIENCE, context=self.trust(line))
        pop.user("tierline")
        pop.pass_(self.password())
        assert pop.stat()[0] == count - 1
        pop.quit()

    def test_mail_is_read_over_imap(self) -> None:
        self.asks("mail_imap")
        line = self.line("mail")
        self.sent("Over IMAP")
        imap = imaplib.IMAP4_SSL(
            *line.address(endpoint="imaps"), ssl_context=self.trust(line), timeout=PATIENCE
        )
        imap.login("ada@example.com", self.password())
        status, (count,) = imap.select("INBOX")
        assert status == "OK"
        _, found = imap.fetch(count or b"", "(BODY[HEADER.FIELDS (SUBJECT)] BODY[TEXT])")
        assert b"Over IMAP" in found[0][1]  # type: ignore[index]
        imap.store(count.decode(), "+FLAGS", "\\Deleted")  # type: ignore[union-attr]
        imap.expunge()
        assert imap.select("INBOX")[1] == [str(int(count or b"0") - 1).encode()]
        imap.logout()
        imap = imaplib.IMAP4_SSL(
            *line.address(endpoint="imaps"), ssl_context=self.trust(line), timeout=PATIENCE
        )
        with pytest.raises(imaplib.IMAP4.error):
            imap.login("tierline", "wrong")

    def test_mail_that_changes_to_tls_midway(self) -> None:
        self.asks("mail_starttls")
        line = self.line("mail")
        with smtplib.SMTP(*line.address(endpoint="smtp"), timeout=PATIENCE) as smtp:
            with pytest.raises(smtplib.SMTPException):
                smtp.login("tierline", self.password())
            smtp.starttls(context=self.trust(line))
            smtp.login("tierline", self.password())
            assert smtp.send_message(self.letter("Midway")) == {}
        pop = poplib.POP3(*line.address(endpoint="pop3"), timeout=PATIENCE)
        with pytest.raises(poplib.error_proto):
            pop.user("tierline")
        pop.stls(context=self.trust(line))
        pop.user("tierline")
        pop.pass_(self.password())
        assert b"Subject: Midway" in pop.retr(pop.stat()[0])[1]
        pop.quit()
        imap = imaplib.IMAP4(*line.address(endpoint="imap"), timeout=PATIENCE)
        assert "LOGINDISABLED" in imap.capabilities
        imap.starttls(ssl_context=self.trust(line))
        imap.login("tierline", self.password())
        assert imap.select("INBOX")[0] == "OK"
        imap.logout()

    def test_an_inbox_that_is_down_is_known_to_be(self) -> None:
        self.asks("mail_health")
        line = self.line("mail")
        self.sent("Before")
        line.kill("mailbox")

        def taken(subject: str) -> bool:
            try:
                self.sent(subject)
            except (smtplib.SMTPException, OSError):
                return False
            return True

        assert eventually(lambda: not taken("Meanwhile"))
        line.again("mailbox")
        assert eventually(lambda: taken("After"))

    # what bad input gets

    @pytest.mark.parametrize("kind", ["cl.te", "te.te", "cl.cl", "te-space", "obs-fold", "bare-lf", "bad-chunk",
                                      "space-name", "nul", "no-host", "two-hosts", "header-cl"])  # fmt: skip
    def test_ambiguous_requests_reach_nobody_as_they_are(self, kind: str) -> None:
        self.asks("strict_parsing")
        line = self.line("least")
        hidden = b"GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"
        post = b"POST /bad HTTP/1.1\r\nhost: localhost\r\n"
        data = {
            "cl.te": post + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
            "te.te": post + b"transfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n" + hidden,
            "cl.cl": post + b"content-length: 0\r\ncontent-length: 46\r\n\r\n" + hidden,
            "te-space": post + b"transfer-encoding : chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n" + hidden,
            "obs-fold": b"GET /bad HTTP/1.1\r\nhost: localhost\r\nx-a: b\r\n transfer-encoding: chunked\r\n\r\n",
            "bare-lf": b"GET /bad HTTP/1.1\nhost: localhost\ntransfer-encoding: chunked\n\n0\n\n" + hidden,
            "bad-chunk": post
            + b"transfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\nx\r\n0\r\n\r\n"
            + hidden,
            "space-name": b"GET /bad HTTP/1.1\r\nhost: localhost\r\nx a: b\r\n\r\n",
            "nul": b"GET /bad HTTP/1.1\r\nhost: localhost\r\nx-a: b\x00c\r\n\r\n",
            "no-host": b"GET /bad HTTP/1.1\r\n\r\n",
            "two-hosts": b"GET /bad HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n\r\n",
            "header-cl": post + b"content-length: +4\r\n\r\nabcd",
        }[kind]
        before = len(line.upstreams.seen)
        answer = raw(line.address(), data, 1)
        seen = line.upstreams.seen[before:]
        status = answer.split()[1] if answer else b""
        if status == b"500" and kind in ("bare-lf", "bad-chunk"):
            status = b"400"  # what Go's servers say of a body that they can't read
        if kind in ("cl.te", "te.te", "obs-fold", "bare-lf"):
            # Either refused, or passed on as one plain request.
            assert status in (b"", b"400", b"501", b"200"), answer
            for each in seen:
                names = [name.lower() for name, _ in each.headers]
                assert not ("content-length" in names and "transfer-encoding" in names)
                assert names.count("transfer-encoding") <= 1 and "\n" not in str(each.headers)
            if status != b"200":
                assert not seen
        else:
            assert status in (b"", b"400", b"501"), answer
            assert not seen

    def test_a_flood_of_headers_is_refused(self) -> None:
        many = b"".join(b"x-%d: y\r\n" % number for number in range(10_000))
        line = self.line("least")
        answer = raw(line.address(), b"GET /flood HTTP/1.1\r\nhost: localhost\r\n" + many + b"\r\n", 2)
        assert not [seen for seen in line.upstreams.seen if seen.path == "/flood"]
        assert not answer or answer.split()[1] in (b"400", b"431")

    def test_slow_headers_are_given_up(self) -> None:
        self.asks("slow_clients")
        with socket.create_connection(self.line().address(), timeout=PATIENCE) as sock:
            sock.sendall(b"GET /slow HTTP/1.1\r\nhost: edge.localhost\r\nx-")
            answer = sock.recv(4096)
        assert not answer or answer.split()[1] in (b"400", b"408")

    def test_its_own_limits_are_refused_by_name(self) -> None:
        line = self.line("limits")
        lost = {loss.feature for loss in line.plan.losses}
        with self.client("limits") as client:
            assert client.post("/x", content=b"x" * (64 << 10)).status_code == 200
            refused = [(client.get("/x", headers={"x-test-sleep": "9"}), 504, "LoadBalancer.timeout = 1 s")]
            refused.append(
                (client.post("/x", content=b"x" * ((64 << 10) + 1)), 413, "LoadBalancer.max_body = 64 KiB")
            )
            for answer, status, why in refused:
                if status == 413 and "max_body" in lost and answer.status_code == 200:
                    continue  # the plan says that this one can't
                assert answer.status_code == status, answer.text
                if self.system == "traefik":
                    continue  # it has no texts of its own to choose
                assert answer.headers["content-type"] == "application/problem+json"
                assert why in answer.json()["detail"]

    # trips and monitoring

    def test_what_is_no_request_is_counted(self) -> None:
        self.asks("refusals_counted")
        line = self.line("least")

        def told() -> int:
            lines = [
                each
                for path in (line.root / ".tierline" / "hops").glob("lb.a*")
                for each in path.read_bytes().splitlines()
            ]
            hops = [found for each in lines if (found := hop(each)) is not None]
            return sum(each.status == 400 and each.verdict == "refused: malformed" for each in hops)

        before = told()
        for sent in (b"GET /x HTTP/1.1\r\nhost : edge\r\n\r\n", b"NO REQUEST\r\n\r\n"):
            assert b" 400 " in raw(line.address(), sent)[:16]
        assert eventually(lambda: told() - before >= 2), "nobody says that there was something"

    def test_a_trace_goes_on_and_a_hop_is_told(self) -> None:
        self.asks("trace_context")
        line = self.line()
        with self.client() as client:
            given = f"00-{TRACE}-00f067aa0ba902b7-01"
            seen = client.get("/x", headers={"traceparent": given}).json()["headers"]["traceparent"]
            assert seen.split("-")[1] == TRACE and seen.endswith("-01")
            (hop,) = line.hops(TRACE)
            assert (hop.tier, hop.zone, hop.status) == ("lb", "a", 200)
            assert hop.parent == "00f067aa0ba902b7"
            assert 0 <= hop.duration_us < 5_000_000

    def test_a_request_without_a_trace_begins_one(self) -> None:
        self.asks("trace_begin")
        with self.client() as client:
            fresh = client.get("/x").json()["headers"]["traceparent"].split("-")
            assert len(fresh[1]) == 32 and len(fresh[2]) == 16 and fresh[1] != TRACE

    def test_metrics_tell_of_each_instance(self) -> None:
        self.asks("metrics")
        line = self.line("least")
        self.roles("least", 4)
        where = {role: (role, "{}:{}".format(*line.addresses[(role, "http")])) for role in sorted(NEAR | FAR)}

        def counted() -> dict[str, float]:
            """Answers of each instance: of samples with a label that names it."""
            found = dict.fromkeys(where, 0.0)
            for sample in self.metrics(line).splitlines():
                labels, _, value = sample.rpartition(" ")
                if re.match(
                    r"(haproxy_server_http_responses_total|envoy_cluster_endpoint_rq_total)\{", labels
                ):
                    for role, names in where.items():
                        found[role] += float(value) * any(f'="{name}"' in labels for name in names)
            return found

        before, said = counted(), self.roles("least", 40)
        after = counted()
        assert {role: after[role] - before[role] for role in where} == {role: said[role] for role in where}

    def metrics(self, line: Line) -> str:
        """What the engine tells on its own socket."""
        for name, path in (("metrics.sock", "/metrics"), ("admin.sock", "/stats/prometheus")):
            if (line.folder() / name).exists():
                transport = httpx.HTTPTransport(uds=str(line.folder() / name))
                with httpx.Client(transport=transport, base_url="http://x") as client:
                    return client.get(path).text
        raise AssertionError("there is no socket for metrics")
