"""Every system of the path keeps the contract of paths_suite.py."""

from paths_suite import PathsContract


class TestLBHAProxy(PathsContract):
    tier, system = "lb", "haproxy"


class TestLBNginx(PathsContract):
    tier, system = "lb", "nginx"


class TestLBEnvoy(PathsContract):
    tier, system = "lb", "envoy"


class TestLBTraefik(PathsContract):
    tier, system = "lb", "traefik"


class TestGatewayHAProxy(PathsContract):
    tier, system = "gateway", "haproxy"


class TestGatewayNginx(PathsContract):
    tier, system = "gateway", "nginx"


class TestGatewayEnvoy(PathsContract):
    tier, system = "gateway", "envoy"


class TestCacheNginx(PathsContract):
    tier, system = "cache", "nginx"


class TestCacheVarnish(PathsContract):
    tier, system = "cache", "varnish"


class TestCacheSquid(PathsContract):
    tier, system = "cache", "squid"


class TestCacheTrafficServer(PathsContract):
    tier, system = "cache", "trafficserver"


class TestCDNNginx(PathsContract):
    tier, system = "cdn", "nginx"


class TestCDNVarnish(PathsContract):
    tier, system = "cdn", "varnish"
