"""gateway.envoy keeps the gateway's contract."""

from body_suite import BodyContract
from gateway_running_suite import RunningContract, SpellingContract
from gateway_suite import GatewayContract
from keys_suite import KeysContract
from limits_suite import LimitsContract
from login_suite import LoginContract
from mtls_suite import MTLSContract
from openapi_suite import OpenAPIContract
from shared_limits_suite import SharedLimitsContract


class TestEnvoy(GatewayContract):
    system = "envoy"


class TestEnvoyKeys(KeysContract):
    system = "envoy"


class TestEnvoyOpenAPI(OpenAPIContract):
    system = "envoy"


class TestEnvoyLogin(LoginContract):
    system = "envoy"


class TestEnvoyMTLS(MTLSContract):
    system = "envoy"


class TestEnvoyBodies(BodyContract):
    system = "envoy"


class TestEnvoySharedLimits(SharedLimitsContract):
    system = "envoy"


class TestEnvoyRunning(RunningContract):
    system = "envoy"


class TestEnvoySpelling(SpellingContract):
    system = "envoy"


class TestEnvoyLimits(LimitsContract):
    system = "envoy"
