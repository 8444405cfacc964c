"""gateway.envoy keeps the gateway's contract."""

from gateway_suite import GatewayContract


class TestEnvoy(GatewayContract):
    system = "envoy"
