"""gateway.nginx counts what is under way and what is being tried again; nothing of it is left when requests are over."""

from __future__ import annotations

import asyncio

import httpx
from gateway_running_suite import OTHER, OWN, RunningContract

from tierline import Gateway, Route, Service, Stack
from tierline.engines.nginx import policies
from waiting import becomes, eventually


class Together(RunningContract):
    """What the suite's helpers are for, without its tests."""


for name in [each for each in vars(RunningContract) if each.startswith("test_")]:
    setattr(Together, name, None)


class TestNginxBudget(Together):
    system = "nginx"

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                routes=[
                    Route("/out", to="echo", response_body={"was": "{body}"}),
                    Route(
                        "/both", to="echo", request_body={"data": "{body}"}, response_body={"was": "{body}"}
                    ),
                    Route("/bounded", to="bounded"),
                    Route("/single", to="echo", retries=1),
                ],
                retry_budget=10,
                timeout="3s",
                concurrency=100,
            ),
            services=[Service("echo", "app:app", expose=["/echo"]), Service("bounded", "app:app")],
            zones=["a", "b"],
        )

    def count(self, what: str) -> int:
        transport = httpx.HTTPTransport(uds=str(self.line.folder() / policies.METRICS_SOCKET))
        with httpx.Client(transport=transport) as client:
            lines = client.get("http://x/metrics").text.splitlines()
        return sum(int(each.rpartition(" ")[2]) for each in lines if each.startswith(what + "{"))

    def calm(self) -> None:
        """Until the own zone's instance, left alone for a second when it has failed, is used by all again."""
        assert eventually(
            lambda: {self.get("/bounded/x").json().get("role") for _ in range(3)} == {"bounded.a"}
        )

    async def refused_at_once(self, number: int, refused: int) -> list[str]:
        """Requests of which so many have no retry, as the others wait for theirs in the other zone."""
        wanted = self.count("tierline_gateway_retries_refused_total") + refused
        self.line.upstreams.held.add("bounded.b")
        asked = asyncio.create_task(self.at_once(number, "/bounded", 503))
        try:
            assert await becomes(lambda: self.count("tierline_gateway_retries_refused_total") == wanted)
        finally:
            self.line.upstreams.held.discard("bounded.b")
        return await asked

    def test_a_budget_is_there_again_when_requests_are_over(self) -> None:
        for _ in range(2):
            self.calm()
            before = self.seen("bounded.a", "bounded.b", path="/bounded")
            statuses = asyncio.run(self.refused_at_once(80, 60))
            assert set(statuses) == {"503"}
            tried = self.seen("bounded.a", "bounded.b", path="/bounded") - before
            assert tried == 80 + 2 * 20  # each of those that may be tried again, twice
        self.calm()
        self.line.upstreams.kill("bounded.a")
        try:
            assert {self.get("/bounded/x").json()["role"] for _ in range(10)} == {"bounded.b"}
        finally:
            self.line.upstreams.heal("bounded.a")

    def test_who_is_left_alone_for_being_busy_has_not_broken_off(self) -> None:
        self.calm()
        for _ in range(3):
            assert set(asyncio.run(self.at_once(40, "/bounded", 503))) == {"503"}

    def test_shaped_routes_have_the_budget_too(self) -> None:
        for method in ("GET", "POST", "PUT"):
            for path in ("/out", "/both"):
                self.settle()
                self.line.upstreams.kill(OWN)
                try:
                    body = None if method == "GET" else {"a": 1}
                    answer = self.client.request(method, path, json=body)
                    assert answer.status_code == 200, answer.text
                    assert answer.json()["was"]["role"] == OTHER
                finally:
                    self.line.upstreams.heal(OWN)

    def test_the_only_retry_goes_to_the_other_zone(self) -> None:
        for method in ("GET", "PUT", "POST"):
            self.settle()
            self.line.upstreams.kill(OWN)
            try:
                assert self.client.request(method, "/single").json().get("role") == OTHER, method
            finally:
                self.line.upstreams.heal(OWN)
        self.settle()

    def test_a_service_that_is_over_its_concurrency_is_not_asked_again(self) -> None:
        before = self.count("tierline_gateway_retries_refused_total")
        statuses = asyncio.run(self.at_once(140, "/echo", 200, reach=100))
        assert (statuses.count("200"), statuses.count("503")) == (100, 40)
        assert self.count("tierline_gateway_retries_refused_total") == before
        self.settle()
