"""gateway.haproxy keeps the gateway's contract."""

from gateway_suite import GatewayContract


class TestHAProxy(GatewayContract):
    system = "haproxy"
