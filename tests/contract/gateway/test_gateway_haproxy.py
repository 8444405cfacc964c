"""gateway.haproxy keeps the gateway's contract."""

import stick_tables
from body_suite import BodyContract
from gateway_running_suite import RunningContract, SpellingContract
from gateway_suite import GatewayContract
from keys_suite import KeysContract
from limits_suite import LimitsContract
from login_suite import LoginContract
from mtls_suite import MTLSContract
from openapi_suite import OpenAPIContract
from shared_limits_suite import SharedLimitsContract


class TestHAProxy(GatewayContract):
    system = "haproxy"


class TestHAProxyKeys(KeysContract):
    system = "haproxy"


class TestHAProxyOpenAPI(OpenAPIContract):
    system = "haproxy"


class TestHAProxyLogin(LoginContract):
    system = "haproxy"


class TestHAProxyMTLS(MTLSContract):
    system = "haproxy"


class TestHAProxyBodies(BodyContract):
    system = "haproxy"


class TestHAProxySharedLimits(SharedLimitsContract):
    system = "haproxy"

    def agree(self) -> None:
        stick_tables.agree(self.line)

    def learned(self) -> None:
        stick_tables.learned(self.line)


class TestHAProxyRunning(RunningContract):
    system = "haproxy"


class TestHAProxySpelling(SpellingContract):
    system = "haproxy"


class TestHAProxyLimits(LimitsContract):
    system = "haproxy"
