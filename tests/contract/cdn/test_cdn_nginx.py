"""cdn.nginx."""

from __future__ import annotations

from cdn_suite import CDNSuite


class TestNginxCDN(CDNSuite):
    system = "nginx"
