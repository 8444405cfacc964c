"""cache.nginx against the table."""

from __future__ import annotations

from cache_suite import CacheSuite


class TestNginx(CacheSuite):
    system = "nginx"
    required = 0.85
