"""What HTTP demands of the gateways, byte by byte."""

from wire_suite import HTTP2WireContract, WireContract

from tierline.tiers.base import available, system


class TestEnvoy(HTTP2WireContract):
    tier, system = "gateway", "envoy"


class TestHAProxy(WireContract):
    tier, system = "gateway", "haproxy"


class TestNginx(WireContract):
    tier, system = "gateway", "nginx"


def test_every_system_of_the_tier_is_held_to_it() -> None:
    tested = {
        each.system
        for each in globals().values()
        if isinstance(each, type) and each.__name__.startswith("Test")
    }
    assert tested == {name for name in available("gateway") if "runs" in system("gateway", name).levels}
