"""Every system of the edge refuses with problem documents."""

from refusals_suite import Refusals


class TestGatewayEnvoy(Refusals):
    tier, system = "gateway", "envoy"


class TestGatewayHAProxy(Refusals):
    tier, system = "gateway", "haproxy"


class TestGatewayNginx(Refusals):
    tier, system = "gateway", "nginx"


class TestLBEnvoy(Refusals):
    tier, system = "lb", "envoy"


class TestLBHAProxy(Refusals):
    tier, system = "lb", "haproxy"


class TestLBNginx(Refusals):
    tier, system = "lb", "nginx"


class TestLBTraefik(Refusals):
    tier, system = "lb", "traefik"


class TestCDNNginx(Refusals):
    tier, system = "cdn", "nginx"


class TestCDNVarnish(Refusals):
    tier, system = "cdn", "varnish"


class TestCacheNginx(Refusals):
    tier, system = "cache", "nginx"


class TestCacheSquid(Refusals):
    tier, system = "cache", "squid"


class TestCacheTrafficServer(Refusals):
    tier, system = "cache", "trafficserver"


class TestCacheVarnish(Refusals):
    tier, system = "cache", "varnish"
