"""What is behind limits of the whole line on nginx: the counter, when it is away, slow or new; as on Envoy."""

from __future__ import annotations

import time

import httpx
import test_gateway_counter as envoy

from tierline.engines.nginx import policies


class TestNginxCounterHung(envoy.HungContract):
    system = "nginx"


class TestNginxCounter(envoy.TestCounter):
    system = "nginx"
    longest = 2000  # a larger token is none to it

    def test_without_the_counter_each_gateway_counts_alone_and_says_so(self) -> None:
        assert self.passed("ab", "/away") == 2
        said, away = self.line.log("gateway.a").count("the counter is away ("), self.told("away")
        self.line.kill("limits")
        try:
            # What was told last still holds.
            assert self.passed("a" * 8, "/away") <= 5
            assert self.passed("b" * 8, "/away") <= 5
            log = self.line.log("gateway.a")
            assert log.count("the counter is away (") == said + 1 and "counts alone" in log
            assert self.told("away") > away
        finally:
            self.line.again("limits")
        self.until_back()
        assert self.passed("ab" * 6, "/back") == 6

    def test_a_busy_limit_is_mostly_counted_here(self) -> None:
        """Far from its end a limit costs a question each ten milliseconds, whatever the load."""
        with httpx.Client(base_url=self.line.url(), trust_env=False) as client:
            client.get("/open")
            before, began = self.told("asked"), time.monotonic()
            for _ in range(400):
                assert client.get("/open").status_code == 200
            took = time.monotonic() - began
        assert self.told("asked") - before <= 100 * took + 2

    def told(self, what: str) -> int:
        """A count of the gateway's own, from its metrics."""
        transport = httpx.HTTPTransport(uds=str(self.line.folder() / policies.METRICS_SOCKET))
        with httpx.Client(transport=transport) as client:
            text = client.get("http://x/metrics").text
        lines = [
            each for each in text.splitlines() if each.startswith(f"tierline_gateway_counter_{what}_total ")
        ]
        return int(lines[0].split()[1]) if lines else 0

    def test_secrets_stand_in_closed_files(self) -> None:
        token = self.line.context.secret("limits.token")
        folder = self.line.folder()
        for path in folder.iterdir():
            if path.is_file() and token in path.read_text(errors="replace"):
                assert path.name == "counter.json" and path.stat().st_mode & 0o077 == 0
        assert token not in self.line.log("gateway.a")
