"""Every system of the edge streams, each tier alone."""

from __future__ import annotations

from streaming_tiers import TierStreaming

from tierline.tiers.base import available, system


class TestBalancerHAProxy(TierStreaming):
    tier, system = "lb", "haproxy"


class TestBalancerNginx(TierStreaming):
    tier, system = "lb", "nginx"


class TestBalancerEnvoy(TierStreaming):
    tier, system = "lb", "envoy"


class TestBalancerTraefik(TierStreaming):
    tier, system = "lb", "traefik"


class TestCacheNginx(TierStreaming):
    tier, system = "cache", "nginx"


class TestCacheVarnish(TierStreaming):
    tier, system = "cache", "varnish"


class TestCacheSquid(TierStreaming):
    tier, system = "cache", "squid"


class TestCacheTrafficServer(TierStreaming):
    tier, system = "cache", "trafficserver"


class TestCDNNginx(TierStreaming):
    tier, system = "cdn", "nginx"


class TestCDNVarnish(TierStreaming):
    tier, system = "cdn", "varnish"


class TestGatewayEnvoy(TierStreaming):
    tier, system = "gateway", "envoy"


class TestGatewayHAProxy(TierStreaming):
    tier, system = "gateway", "haproxy"


class TestGatewayNginx(TierStreaming):
    tier, system = "gateway", "nginx"


def test_no_system_is_left_out() -> None:
    tried = {(each.tier, each.system) for each in TierStreaming.__subclasses__()}
    for tier in ("cdn", "lb", "cache", "gateway"):
        assert {name for name in available(tier) if "runs" in system(tier, name).levels} == {
            name for at, name in tried if at == tier
        }
