"""gateway.envoy keeps the gateway's contract."""

from gateway_suite import GatewayContract
from keys_suite import KeysContract
from openapi_suite import OpenAPIContract


class TestEnvoy(GatewayContract):
    system = "envoy"


class TestEnvoyKeys(KeysContract):
    system = "envoy"


class TestEnvoyOpenAPI(OpenAPIContract):
    system = "envoy"
