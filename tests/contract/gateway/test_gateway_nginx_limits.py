"""Who has many addresses pushes nobody's count out of gateway.nginx: who was counted stays so, newcomers share buckets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from feature_suite import Contract

from tierline import APIKeys, Gateway, LoadBalancer, Quota, RateLimit, Service, Stack
from tierline.engines.nginx import policies

FLOOD = 1200


class TestNginxFlood(Contract):
    """A gateway with little memory for limits, behind a balancer, which says who the clients are."""

    system = "nginx"

    @classmethod
    def prepare(cls, root: Path) -> Callable[[], None]:
        before, policies.CLIENTS = policies.CLIENTS, "64k"

        def end() -> None:
            policies.CLIENTS = before

        return end

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            lb=LoadBalancer(),
            gateway=Gateway(
                limits=[
                    RateLimit(3, per="120s", by="client", paths=["/open"]),
                    RateLimit(5, per="120s", by="all", paths=["/total"]),
                    RateLimit(4, per="120s", by="consumer", paths=["/keyed"]),
                ],
                keys=APIKeys(
                    consumers={"ann": "small", "bob": ""}, paths=["/keyed"], plans=[Quota("small", 3, "1d")]
                ),
            ),
            services=[Service("echo", "app:app", expose=["/open", "/total", "/keyed"])],
            zones=["a"],
        )

    def of(self, address: str) -> httpx.Response:
        return self.get("/open", x_forwarded_for=address)

    def metrics(self) -> str:
        transport = httpx.HTTPTransport(uds=str(self.line.folder() / policies.METRICS_SOCKET))
        with httpx.Client(transport=transport) as client:
            return client.get("http://x/metrics").text

    def test_a_flood_of_addresses_makes_nobody_new(self) -> None:
        """The line's counter remembers those whom this gateway has no room for."""
        known = [f"203.0.113.{number}" for number in range(20)]
        for address in known:
            assert [self.of(address).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert {self.of(f"10.9.{number // 250}.{number % 250}").status_code for number in range(FLOOD)} == {
            200
        }
        assert {self.of(address).status_code for address in known} == {429}
        assert [self.of("198.51.100.9").status_code for _ in range(4)] == [200, 200, 200, 429]

    def test_nor_does_it_while_the_counter_is_away(self) -> None:
        self.line.kill("limits")
        known = [f"192.0.2.{number}" for number in range(20)]
        keys = {name: {"x-api-key": self.line.context.secret(f"apikey.{name}")} for name in ("ann", "bob")}
        for address in known:
            # Those of the flood before have a bucket of their own, or there is no room.
            assert self.of(address).status_code in (200, 429)
        assert [self.client.get("/keyed", headers=keys["ann"]).status_code for _ in range(2)] == [200, 200]
        assert [self.get("/total").status_code for _ in range(4)] == [200] * 4

        flood = [self.of(f"10.0.{number // 250}.{number % 250}").status_code for number in range(FLOOD)]
        assert set(flood) == {200, 429} and flood[-200:].count(200) <= 3 * 64

        # Who had used up their requests has none again, and who comes late is counted, with others.
        late = [self.of("198.51.100.7") for _ in range(4)]
        assert late[-1].status_code == 429 and int(late[-1].headers["retry-after"]) > 0

        # Consumers, everybody together and quotas have tables of their own.
        asked = [self.client.get("/keyed", headers=keys["ann"]).status_code for _ in range(2)]
        assert asked == [200, 429]
        assert [self.client.get("/keyed", headers=keys["bob"]).status_code for _ in range(5)] == [200] * 4 + [
            429
        ]
        assert [self.get("/total").status_code for _ in range(2)] == [200, 429]

        log = self.line.log("gateway.a")
        assert log.count("the table of clients is full") == 1
        assert log.count("ngx_slab_alloc() failed") < 200  # it doesn't fill the disk either
        assert 'tierline_gateway_limit_crowded_total{policy="limit-client-0:/open"}' in self.metrics()
