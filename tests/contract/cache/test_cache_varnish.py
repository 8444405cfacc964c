"""cache.varnish against the table."""

from __future__ import annotations

from cache_suite import CacheSuite


class TestVarnish(CacheSuite):
    system = "varnish"
    required = 0.85
