"""What is behind limits of the whole line on Envoy: the counter, when it is away, slow or new; and both ways
through one Envoy that plays two tiers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import httpx
import jwt
import pytest
from edge import Line
from feature_suite import Contract
from gateway_suite import KEYS, jwks

from tierline import JWT, APIKeys, Gateway, HTTPCache, LoadBalancer, Quota, RateLimit, Service, Stack
from tierline.engines.envoy import shared_limits
from waiting import PATIENCE, eventually

PATHS = ["/away", "/hung", "/back", "/open"]


class TestCounter(Contract):
    """Limits are far apart in time, so that nothing fills up while a test looks."""

    system = "envoy"
    zones: ClassVar[str] = "ab"
    longest: ClassVar[int] = 9000
    """Bytes of a subject that still passes, or nearly."""

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                auth=JWT(issuer="i", audience="us", paths=["/person"]),
                limits=[
                    RateLimit(3, per="10m", by="consumer", paths=["/person"]),
                    *(RateLimit(1000 if path == "/open" else 6, per="10m", by="all", paths=[path]) for path in PATHS),
                ],
                keys=APIKeys(
                    consumers={name: "small" for name in ("ann", "bob", "eve", "zoe")}, paths=["/keyed"],
                    plans=[Quota("small", 50, "1d")],
                ),
            ),
            services=[Service("echo", "app:app", expose=[*PATHS, "/keyed", "/person"])],
            zones=["a", "b"],
        )  # fmt: skip

    def key(self, name: str) -> dict[str, str]:
        return {"x-api-key": self.line.context.secret(f"apikey.{name}")}

    def person(self, name: str) -> dict[str, str]:
        token = self.line.context.sign({"iss": "i", "aud": "us", "sub": name})
        return {"authorization": f"Bearer {token}"}

    def passed(self, zones: str, path: str, **headers: str) -> int:
        more: dict[str, Any] = {"headers": headers, "trust_env": False, "timeout": PATIENCE}
        asked = (httpx.get(self.line.url(each) + path, **more) for each in zones)
        return sum(answer.status_code == 200 for answer in asked)

    def until_back(self) -> None:
        """Until each gateway asks the counter again."""

        def back(zone: str) -> bool:
            self.passed(zone, "/open")
            self.passed(zone, "/keyed", **self.key("zoe"))
            log = self.line.log(f"gateway.{zone}")
            return log.count("is back") >= log.count("is away")

        assert all(eventually(lambda zone=zone: back(zone)) for zone in "ab")

    def test_a_quota_is_exact_whoever_asks_at_once(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            found = sum(pool.map(lambda zone: self.passed(zone * 10, "/keyed", **self.key("ann")), "ab" * 4))
        assert found == 50

    def test_a_quota_outlives_every_process(self) -> None:
        assert self.passed("ab" * 10, "/keyed", **self.key("bob")) == 20
        for name in ("gateway.a", "gateway.b", "limits"):
            self.line.kill(name)
        for name in ("limits", "gateway.a", "gateway.b"):
            self.line.again(name)
        assert self.passed("ab" * 20, "/keyed", **self.key("bob")) == 30

    def test_without_the_counter_each_gateway_counts_alone_and_says_so(self) -> None:
        assert self.passed("ab", "/away") == 2
        self.line.kill("limits")
        try:
            # What was told last still holds.
            assert self.passed("a" * 8, "/away") <= 5
            assert self.passed("b" * 8, "/away") <= 5
            assert "tierline.limits: the counter is away" in self.line.log("gateway.a")
            transport = httpx.HTTPTransport(uds=str(self.line.folder() / "admin.sock"))
            with httpx.Client(transport=transport) as admin:
                told = admin.get("http://admin/stats?filter=tierline.counter.upstream_cx_connect_fail").text
            assert int(told.rpartition(":")[2]) > 0
        finally:
            self.line.again("limits")
        self.until_back()
        assert self.passed("ab" * 6, "/back") == 6

    def test_a_quota_used_meanwhile_is_told_later(self) -> None:
        self.line.kill("limits")
        try:
            before = self.passed("aaaaa", "/keyed", **self.key("eve"))
        finally:
            self.line.again("limits")
        assert before == 5
        self.until_back()
        asked = [
            httpx.get(
                self.line.url(zone) + "/keyed", headers=self.key("eve"), trust_env=False, timeout=PATIENCE
            )
            for zone in "ab"
        ]
        left = [int(answer.headers["ratelimit-remaining"]) for answer in asked]
        assert left[1] == left[0] - 1 and left[0] <= 50 - 5 - 1

    def test_long_names_that_begin_alike_are_two(self) -> None:
        for name in ("ann", "bob"):
            person = self.person("https://id.example/users/" + "x" * (self.longest - 100) + name)
            assert self.passed("abab", "/person", **person) == 3

    def test_long_names_break_no_report(self) -> None:
        """What was let in while the counter was away is told it, were the names larger together than a report may be."""
        people = [self.person(f"{number}" + "x" * self.longest) for number in range(160)]
        self.line.kill("limits")
        try:
            with httpx.Client(base_url=self.line.url("a"), trust_env=False, timeout=PATIENCE) as client:
                assert {client.get("/person", headers=each).status_code for each in people} == {200}
        finally:
            self.line.again("limits")
        self.until_back()
        for each in people[::40]:
            assert self.passed("a", "/person", **each) == 1
            assert self.passed("bbb", "/person", **each) == 1

    def test_strangers_are_told_nothing(self) -> None:
        host, port = self.line.addresses[("limits", "http")]
        line = "quota:small:x\twindow\t50\t86400\t50\tann\t1000\t0\t0"
        for token in ({}, {"authorization": "guess"}):
            assert httpx.post(f"http://{host}:{port}/take", content=line, headers=token).status_code == 403


class HungContract(Contract):
    """With the time for an answer that gateways really have. Inherit it and name the system."""

    counter_ms = shared_limits.DEADLINE_MS

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(limits=[RateLimit(6, per="10m", by="all", paths=["/hung"])]),
            services=[Service("echo", "app:app", expose=["/hung"])],
            zones=["a", "b"],
        )

    def test_a_gateway_counts_alone_as_long_as_the_counter_hangs(self) -> None:
        os.kill(self.line.running["limits"].pid, signal.SIGSTOP)
        try:
            assert [self.get("/hung").status_code for _ in range(8)] == [200] * 6 + [429] * 2
        finally:
            os.kill(self.line.running["limits"].pid, signal.SIGCONT)


class TestCounterHung(HungContract):
    system = "envoy"


class TestCounterFused:
    """Balancer and gateway in one Envoy around the cache: what bypasses the cache is counted with what doesn't."""

    @pytest.fixture(scope="class")
    @classmethod
    def line(cls) -> Iterator[Line]:
        stack = Stack(
            "edge",
            lb=LoadBalancer(),
            cache=HTTPCache(),
            gateway=Gateway(
                auth=JWT(issuer="issuer", audience="us", paths=["/private"], jwks="keys.json"),
                limits=[RateLimit(10, per="10m", by="all")],
            ),
            services=[Service("echo", "app:app", expose=["/"])],
            zones=["a"],
        )
        line = Line(stack, "gateway", {"lb": "envoy", "cache": "nginx", "gateway": "envoy"})
        (line.root / "keys.json").write_text(jwks("one"))
        try:
            yield line.start("gateway", "cache")
        finally:
            line.close()

    def test_both_ways_count_together(self, line: Line) -> None:
        assert {"envoy.a", line.context.unit_of("cache.a")} < set(line.running)
        host, port = line.addresses[("lb.a", "http")]
        claims = {"iss": "issuer", "aud": "us", "sub": "u", "exp": int(time.time()) + 600}
        signed = jwt.encode(claims, KEYS["one"], "ES256", headers={"kid": "one"})
        statuses = []
        for number in range(16):
            headers = {"authorization": f"Bearer {signed}"} if number % 2 else {}
            url = f"http://{host}:{port}/echo{number}"
            statuses.append(httpx.get(url, headers=headers, trust_env=False).status_code)
        assert statuses == [200] * 10 + [429] * 6
