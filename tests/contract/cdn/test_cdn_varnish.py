"""cdn.varnish."""

from __future__ import annotations

from cdn_suite import CDNSuite


class TestVarnishCDN(CDNSuite):
    system = "varnish"
