"""A limit is the line's, not a zone's: the gateways of all zones count together, and none that ends takes its count
with it. A system inherits it with an empty subclass."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import httpx
from feature_suite import Contract

from tierline import APIKeys, Gateway, Quota, RateLimit, Service, Stack

AT_ONCE = 8
PATHS = ["/all", "/client", "/hurried", "/killed", "/again", "/reloaded", "/told"]


class SharedLimitsContract(Contract):
    """Inherit it and name the system."""

    zones: ClassVar[str] = "ab"

    @classmethod
    def stack(cls) -> Stack:
        def each(path: str) -> RateLimit:
            by = "client" if path == "/client" else "all"
            return RateLimit(100 if path == "/hurried" else 10, per="60s", by=by, paths=[path])

        return Stack(
            "edge",
            gateway=Gateway(
                limits=[each(path) for path in PATHS],
                keys=APIKeys(consumers={"ann": "small", "bob": "small"}, paths=["/keyed"], plans=[Quota("small", 6, "1h")]),
            ),
            services=[Service("echo", "app:app", expose=[*PATHS, "/keyed"])],
            zones=["a", "b"],
        )  # fmt: skip

    def ask(self, zone: str, path: str, **headers: str) -> httpx.Response:
        # Each on a connection of its own: one that idles may be left to a worker that has been replaced.
        return self.client.get(self.line.url(zone) + path, headers={"connection": "close", **headers})

    def passed(self, zones: str, path: str, **headers: str) -> int:
        """How many of these requests, one after the other, were let in."""
        return sum(self.ask(zone, path, **headers).status_code == 200 for zone in zones)

    def together(self) -> None:
        """Until the gateways know each other: what one lets in, the other tells."""
        until = time.monotonic() + 10
        while True:
            left = [int(self.ask(zone, "/told").headers["ratelimit-remaining"]) for zone in "ab"]
            if left[1] < left[0] or left == [0, 0]:
                return
            assert time.monotonic() < until, left
            time.sleep(0.1)

    def test_a_limit_is_the_lines(self) -> None:
        self.asks("shared_limits")
        self.together()
        assert self.passed("ab" * 10, "/all") == 10
        assert self.passed("aaaaaaaaaabbbbbbbbbb", "/client") == 10
        refused = self.ask("b", "/client")
        self.refused(refused, 429)
        assert refused.headers["ratelimit-remaining"] == "0"

    def test_a_quota_is_the_lines(self) -> None:
        self.asks("shared_limits")
        self.together()
        ann, bob = ({"x-api-key": self.line.context.secret(f"apikey.{name}")} for name in ("ann", "bob"))
        assert self.passed("ab" * 6, "/keyed", **ann) == 6
        assert self.passed("ba" * 6, "/keyed", **bob) == 6

    def test_a_hurry_lets_in_hardly_more(self) -> None:
        self.asks("shared_limits")
        self.together()

        def hurry(zone: str) -> Counter[int]:
            with httpx.Client(base_url=self.line.url(zone), trust_env=False, timeout=10) as client:
                return Counter(client.get("/hurried").status_code for _ in range(40))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = sum(pool.map(hurry, "ab" * (AT_ONCE // 2)), Counter[int]())
        # Beyond the limit only what was under way at the other gateway while a count was.
        assert set(found) == {200, 429} and 100 <= found[200] <= 100 + AT_ONCE, found

    def test_a_zone_that_ends_takes_no_count_with_it(self) -> None:
        self.asks("shared_limits")
        self.together()
        assert self.passed("bbbbbbb", "/killed") == 7
        assert self.passed("bbbbbbb", "/again") == 7
        time.sleep(0.1)
        unit = self.line.context.unit_of("gateway.b")
        self.line.kill(unit)
        try:
            assert self.passed("a" * 8, "/killed") == 3
        finally:
            self.line.again(unit)
        time.sleep(0.5)  # who comes back asks the others first
        assert self.passed("b" * 8, "/again") == 3

    def test_a_change_of_policies_forgets_no_count(self) -> None:
        self.asks("shared_limits")
        self.together()
        # HAProxy hands on only what it has learned itself: for five seconds it asks who else is there.
        time.sleep(8)
        assert self.passed("aaabbb", "/reloaded") == 6
        self.line.reload("a")
        time.sleep(2)
        assert self.passed("ab" * 5, "/reloaded") == 4
