"""gateway.nginx keeps the gateway's contract."""

from body_suite import BodyContract
from gateway_suite import GatewayContract
from keys_suite import KeysContract
from login_suite import LoginContract
from mtls_suite import MTLSContract
from openapi_suite import OpenAPIContract


class TestNginx(GatewayContract):
    system = "nginx"


class TestNginxKeys(KeysContract):
    system = "nginx"


class TestNginxOpenAPI(OpenAPIContract):
    system = "nginx"


class TestNginxLogin(LoginContract):
    system = "nginx"


class TestNginxMTLS(MTLSContract):
    system = "nginx"


class TestNginxBodies(BodyContract):
    system = "nginx"
