"""Who has many addresses pushes nobody's count out of gateway.haproxy: who was counted stays so, newcomers share buckets,
in all zones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import httpx
import stick_tables
from feature_suite import Contract

from tierline import JWT, Gateway, LoadBalancer, RateLimit, Service, Stack
from tierline.engines.haproxy import limits

FLOOD, SHARED = 600, 64


class TestHAProxyFlood(Contract):
    """Two gateways with little memory behind a balancer, which says who the clients are."""

    system = "haproxy"
    zones: ClassVar[str] = "ab"

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None]:
        before, limits.CLIENTS = limits.CLIENTS, 100

        def end() -> None:
            limits.CLIENTS = before

        return end

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            lb=LoadBalancer(),
            gateway=Gateway(
                auth=JWT(issuer="i", audience="us", paths=["/person"]),
                limits=[
                    RateLimit(3, per="120s", by="client", paths=["/open"]),
                    RateLimit(3, per="120s", by="all", paths=["/total"]),
                    RateLimit(2, per="120s", by="consumer", paths=["/person"]),
                ],
            ),
            services=[Service("echo", "app:app", expose=["/open", "/total", "/person"])],
            zones=["a", "b"],
        )

    def of(self, address: str, zone: str = "a") -> httpx.Response:
        return self.client.get(self.line.url(zone) + "/open", headers={"x-forwarded-for": address})

    def test_a_flood_of_addresses_makes_nobody_new(self) -> None:
        known = [f"192.0.2.{number}" for number in range(20)]
        for address in known:
            assert [self.of(address).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert [self.get("/total").status_code for _ in range(2)] == [200, 200]

        flood = [self.of(f"10.0.{number // 250}.{number % 250}").status_code for number in range(FLOOD)]
        assert set(flood) == {200, 429} and flood[:50] == [200] * 50

        # Who had used up their requests has none again, and who comes late is counted, with others.
        assert {self.of(address).status_code for address in known} == {429}
        late = []
        for zone in "abab":
            late.append(self.of("198.51.100.7", zone))
            stick_tables.agree(self.line)
        assert late[-1].status_code == 429 and int(late[-1].headers["retry-after"]) > 0
        assert flood.count(200) <= 80 + 3 * SHARED
        stick_tables.agree(self.line)
        # The other zone knows it too: of those who are known and of those who share.
        assert {self.of(address, "b").status_code for address in known} == {429}
        again = [self.of(f"10.0.2.{number}", "b").status_code for number in range(50)]
        assert again.count(429) >= 45  # a bucket may have room yet
        # Everybody together has a table of its own.
        assert [self.get("/total").status_code for _ in range(2)] == [200, 429]

    def test_long_names_that_begin_alike_are_two(self) -> None:
        for name in ("ann", "bob"):
            for length in (200, 2000):
                subject = "https://id.example/users/" + "x" * length + name
                token = self.line.context.sign({"iss": "i", "aud": "us", "sub": subject})
                statuses = [
                    self.get("/person", authorization=f"Bearer {token}").status_code for _ in range(3)
                ]
                assert statuses == [200, 200, 429]
