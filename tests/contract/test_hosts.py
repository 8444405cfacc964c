"""Every system of the path keeps the contract of hosts_suite.py."""

from hosts_suite import HostsContract, KeysContract


class TestLBHAProxy(HostsContract):
    tier, system = "lb", "haproxy"


class TestLBNginx(HostsContract):
    tier, system = "lb", "nginx"


class TestLBEnvoy(HostsContract):
    tier, system = "lb", "envoy"


class TestLBTraefik(HostsContract):
    tier, system = "lb", "traefik"


class TestGatewayHAProxy(HostsContract):
    tier, system = "gateway", "haproxy"


class TestGatewayNginx(HostsContract):
    tier, system = "gateway", "nginx"


class TestGatewayEnvoy(HostsContract):
    tier, system = "gateway", "envoy"


class TestCacheNginx(KeysContract):
    tier, system = "cache", "nginx"


class TestCacheVarnish(KeysContract):
    tier, system = "cache", "varnish"


class TestCacheSquid(KeysContract):
    tier, system = "cache", "squid"


class TestCacheTrafficServer(KeysContract):
    tier, system = "cache", "trafficserver"


class TestCDNNginx(KeysContract):
    tier, system = "cdn", "nginx"


class TestCDNVarnish(KeysContract):
    tier, system = "cdn", "varnish"
