"""cache.trafficserver against the table."""

from __future__ import annotations

from cache_suite import CacheSuite


class TestTrafficServer(CacheSuite):
    system = "trafficserver"
    required = 0.85
