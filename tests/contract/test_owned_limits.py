"""Every system of the edge that has limits of its own is the one to speak of them."""

from owned_limits_suite import OwnedLimits, PassesLimits


class TestGatewayEnvoy(OwnedLimits):
    tier, system = "gateway", "envoy"


class TestGatewayHAProxy(OwnedLimits):
    tier, system = "gateway", "haproxy"


class TestGatewayNginx(OwnedLimits):
    tier, system = "gateway", "nginx"


class TestLBEnvoy(OwnedLimits):
    tier, system, owns = "lb", "envoy", False


class TestLBHAProxy(OwnedLimits):
    tier, system, owns = "lb", "haproxy", False


class TestLBNginx(OwnedLimits):
    tier, system, owns = "lb", "nginx", False


class TestLBTraefik(OwnedLimits):
    tier, system, owns = "lb", "traefik", False


class TestCDNNginx(OwnedLimits):
    tier, system, owns = "cdn", "nginx", False


class TestCDNVarnish(OwnedLimits):
    tier, system, owns = "cdn", "varnish", False


class TestCacheNginx(PassesLimits):
    system = "nginx"


class TestCacheSquid(PassesLimits):
    system = "squid"


class TestCacheTrafficServer(PassesLimits):
    system = "trafficserver"


class TestCacheVarnish(PassesLimits):
    system = "varnish"
