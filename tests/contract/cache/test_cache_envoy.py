"""cache.envoy against the table."""

from __future__ import annotations

from cache_suite import CacheSuite


class TestEnvoy(CacheSuite):
    system = "envoy"
    required = 0.95
    settle = 0.03
