"""Who asked, and where: what every system of cdn, lb, cache and gateway says of its client (engines/forwarded.py).

A system inherits the suite with an empty subclass that names its tier and itself.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from edge import Line, Seen, raw

from tierline import CDN, Gateway, HTTPCache, LoadBalancer, Service, Stack
from tierline.engines.forwarded import LINE, PLACE, PROOF
from tierline.tiers.base import system

INTENTS: dict[str, Any] = {"cdn": CDN, "lb": LoadBalancer, "cache": HTTPCache, "gateway": Gateway}
FORGED = (
    ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Port", "666"), ("Forwarded", "for=6.6.6.6"), ("Forwarded", "for=6.6.6.7;host=evil.test"),
    ("X-Forwarded-Server", "evil.test"), ("X-Real-IP", "6.6.6.6"), ("X-Original-URL", "/evil"),
    ("X-Rewrite-URL", "/evil"), ("X-Original-Host", "evil.test"), ("X-Forwarded-Prefix", "/evil"),
)  # fmt: skip
UNDERSCORES = ("X_Forwarded_For", "X_Forwarded-Host", "x_forwarded_proto")
NO_HOSTS = (
    'a"b',
    "user@localhost",
    "local host",
    "localhost/x",
    "localhost:x",
    "local\\host",
    "localhost,evil.test",
)


class HostsContract:
    """Inherit it, name tier and system."""

    tier: ClassVar[str] = ""
    system: ClassVar[str] = ""
    running: ClassVar[dict[str, Line]]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def lines(cls) -> Iterator[None]:
        cls.running = {}
        yield
        for line in cls.running.values():
            line.close()

    def line(self, front: str = "") -> Line:
        """The tier at work: alone, or behind another one, whose part the test plays."""
        if front not in self.running:
            tiers: dict[str, Any] = {name: INTENTS[name]() for name in (front, self.tier) if name}
            service = Service("web", "app:app", expose=["/"])
            stack = Stack("edge", **tiers, services=[service], zones=["a"])
            self.running[front] = Line(stack, self.tier, {self.tier: self.system}).start()
        return self.running[front]

    def role(self, line: Line) -> str:
        return next(r.id for r in line.plan.roles.values() if r.name == self.tier)

    def at(self, line: Line, endpoint: str = "http") -> tuple[str, int]:
        return line.addresses[(self.role(line), endpoint)]

    def lacks(self, feature: str) -> bool:
        return feature in system(self.tier, self.system).lacks

    def ask(
        self, host: str, *fields: tuple[str, str], line: Line | None = None, endpoint: str = "http", target: str = "/x",
        front: str = "",
    ) -> tuple[bytes, list[Seen]]:  # fmt: skip
        """The answer, and what reached the service."""
        line = line or self.line(front)
        before = len(line.upstreams.seen)
        if not any(name == "X-Test-Header" for name, _ in fields):
            fields = (*fields, ("X-Test-Header", "Cache-Control: no-store"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in (("Host", host), *fields))
        tls = None
        protocol = next(e.protocol for e in line.plan.roles[self.role(line)].endpoints if e.name == endpoint)
        if protocol == "https":
            tls = ssl.create_default_context(cafile=str(line.context.authority))
        request = f"GET {target} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode("latin-1")
        return raw(self.at(line, endpoint), request, tls=tls), line.upstreams.seen[before:]

    def one(self, *given: Any, **more: Any) -> Seen:
        answer, seen = self.ask(*given, **more)
        assert b" 200 " in answer.partition(b"\r\n")[0], answer
        return seen[-1]

    def described(self, seen: Seen, host: str, scheme: str, port: str, client: str = "127.0.0.1") -> None:
        if self.lacks("host_spelling"):
            host = host.lower().removesuffix(":80")
            seen.headers = [
                (k, v.lower() if k.lower() in ("x-forwarded-host", "forwarded") else v)
                for k, v in seen.headers
            ]
        assert seen.header("host") == host
        assert seen.header("x-forwarded-host") == host, seen.headers
        assert seen.header("x-forwarded-port") == port
        assert seen.header("x-forwarded-proto") == scheme
        assert seen.header("x-forwarded-for") == client
        if not self.lacks("forwarded"):
            assert seen.header("forwarded") == f'for={client};host="{host}";proto={scheme}'

    @pytest.mark.parametrize(
        ("host", "port"),
        [("localhost:8443", "8443"), ("LocalHost:8443", "8443"), ("localhost", "80"), ("127.0.0.1:80", "80"),
         ("LOCALHOST", "80"), ("[::1]:8443", "8443"), ("[::1]", "80")],
    )  # fmt: skip
    def test_the_host_arrives_as_it_was_sent(self, host: str, port: str) -> None:
        if self.tier == "cdn" and host.startswith("["):
            assert b" 421 " in self.ask(host)[0][:20]
            return
        self.described(self.one(host), host, "http", port)

    def test_over_tls_and_http2(self) -> None:
        line = self.line()
        if all(each.name != "https" for each in line.plan.roles[self.role(line)].endpoints):
            return
        self.described(self.one("localhost:8443", endpoint="https"), "localhost:8443", "https", "8443")
        self.described(self.one("localhost", endpoint="https"), "localhost", "https", "443")
        trust = ssl.create_default_context(cafile=str(line.context.authority))
        host, port = self.at(line, "https")
        with httpx.Client(verify=trust, http2=True, trust_env=False) as client:
            answer = client.get(f"https://{host}:{port}/x", headers={"host": "LOCALHOST:9443"})
        assert answer.status_code == 200 and answer.http_version == "HTTP/2"
        self.described(line.upstreams.seen[-1], "LOCALHOST:9443", "https", "9443")

    def test_an_absolute_request_target_counts_more_than_host(self) -> None:
        """RFC 9112, 3.2.2: Host is ignored and replaced; a mismatch may be refused."""
        answer, seen = self.ask("other.test", target="http://localhost:8080/x?y=1")
        if b" 400 " not in answer[:20]:
            assert seen[-1].path == "/x?y=1"
            self.described(seen[-1], "localhost:8080", "http", "8080")
        seen = self.ask("localhost:8080", target="http://localhost:8080/x?y=1")[1]
        assert seen[-1].path == "/x?y=1"
        self.described(seen[-1], "localhost:8080", "http", "8080")

    def test_nobody_else_says_who_asks(self) -> None:
        seen = self.one("localhost:8080", *FORGED)
        self.described(seen, "localhost:8080", "http", "8080")
        for name, value in seen.headers:
            assert "evil" not in value and "6.6.6" not in value and value != "666", name

    def test_underscores_are_no_way_around(self) -> None:
        """WSGI can't tell X_Forwarded_For from X-Forwarded-For."""
        for name in UNDERSCORES:
            answer, seen = self.ask("localhost:8080", (name, "6.6.6.6"))
            if seen:
                assert not any("6.6.6" in value for _, value in seen[-1].headers), seen[-1].headers
            else:
                assert b" 400 " in answer[:20]

    @pytest.mark.parametrize("host", NO_HOSTS)
    def test_what_names_no_host_is_refused(self, host: str) -> None:
        if host == "localhost:x" and self.lacks("strict_hosts"):
            return
        answer, seen = self.ask(host)
        assert answer[9:12] in (b"400", b"421", b"404", b"") and not seen, (answer, seen)

    def test_a_worker_knows_a_request_of_the_line(self) -> None:
        line = self.line()
        seen = self.one("localhost", (LINE, "guess"))
        assert seen.header(LINE.lower()) == line.context.secret(PROOF)

    def test_behind_a_cdn_only_its_places_are_believed(self) -> None:
        if self.tier == "cdn":
            return
        line = self.line("cdn")
        said = (
            ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "localhost:444"),
            ("X-Forwarded-Port", "444"), ("Forwarded", 'for=192.0.2.7;host="localhost:444";proto=https'),
        )  # fmt: skip
        for more in ((), ((PLACE, "guess"),)):
            self.described(self.one("localhost:444", *said, *more, line=line), "localhost:444", "http", "444")
        (place,) = [role for role in line.plan.roles.values() if role.tier == "cdn"]
        ((target, *_),) = place.upstreams.values()
        shown = (PLACE, line.context.secret("cdn.place"))
        seen = self.one("localhost:444", *said, shown, line=line, endpoint=target.endpoint)
        assert seen.header(PLACE.lower()) is None
        self.described(seen, "localhost:444", "https", "444", "192.0.2.7")
        if target.endpoint == "places":
            answer, seen_ = self.ask("localhost:444", *said, line=line, endpoint=target.endpoint)
            assert answer[9:12] in (b"403", b"404") and not seen_

    def test_in_the_line_the_first_tier_is_believed(self) -> None:
        front = {"cache": "lb", "gateway": "lb"}.get(self.tier)
        if front is None:
            return
        said = (
            ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "LOCALHOST:444"),
            ("X-Forwarded-Port", "444"), ("Forwarded", 'for=192.0.2.7;host="LOCALHOST:444";proto=https'),
        )  # fmt: skip
        seen = self.one("LOCALHOST:444", *said, line=self.line(front))
        self.described(seen, "LOCALHOST:444", "https", "444", "192.0.2.7")


class KeysContract(HostsContract):
    """For what keeps copies: a copy is for those who asked by the same scheme, host and port (RFC 9110, 4.2.3)."""

    def fetched(self, path: str, host: str, scheme: str = "http") -> bool:
        """Whether the service was asked."""
        fields = [("X-Test-Header", "Cache-Control: max-age=60")]
        if self.tier == "cdn":
            endpoint, line = scheme, self.line()
        else:
            endpoint, line = "http", self.line("lb")
            fields += [("X-Forwarded-Proto", scheme), ("X-Forwarded-Host", host)]
        answer, seen = self.ask(host, *fields, line=line, endpoint=endpoint, target=path)
        assert b" 200 " in answer[:20], answer
        return bool(seen)

    def test_spellings_of_an_authority_share_a_copy(self) -> None:
        assert self.fetched("/k/1", "localhost", "https")
        spellings = ("LOCALHOST", "localhost:443", "localhost.", "LocalHost.:443")
        for host in spellings[:1] if self.lacks("host_spelling") else spellings:
            assert not self.fetched("/k/1", host, "https"), host

    def test_other_ports_and_schemes_have_copies_of_their_own(self) -> None:
        assert self.fetched("/k/2", "localhost", "https")
        for host, scheme in (("localhost:8443", "https"), ("localhost:80", "https"), ("localhost", "http"),
                             ("localhost:443", "http")):  # fmt: skip
            assert self.fetched("/k/2", host, scheme), (host, scheme)
