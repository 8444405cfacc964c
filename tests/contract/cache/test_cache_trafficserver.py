"""cache.trafficserver against the table."""

from __future__ import annotations

from typing import ClassVar

from cache_suite import CacheSuite


class TestTrafficServer(CacheSuite):
    system = "trafficserver"
    required = 0.85
    timing: ClassVar[dict[str, str]] = {
        "collapsed": "a request that can't look at the copy being written, as the machine is busy, is fetched by itself",
    }
