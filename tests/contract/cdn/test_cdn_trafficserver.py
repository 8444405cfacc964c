"""cdn.trafficserver."""

from __future__ import annotations

from cdn_suite import CDNSuite


class TestTrafficServerCDN(CDNSuite):
    system = "trafficserver"
