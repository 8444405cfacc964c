"""cache.squid against the table."""

from __future__ import annotations

from cache_suite import CacheSuite


class TestSquid(CacheSuite):
    system = "squid"
    required = 0.85
