"""What HTTP demands of the load balancers, byte by byte."""

from wire_suite import HTTP2WireContract

from tierline.tiers.base import available, system


class TestEnvoy(HTTP2WireContract):
    tier, system = "lb", "envoy"


class TestHAProxy(HTTP2WireContract):
    tier, system = "lb", "haproxy"


class TestNginx(HTTP2WireContract):
    tier, system = "lb", "nginx"


class TestTraefik(HTTP2WireContract):
    tier, system = "lb", "traefik"


def test_every_system_of_the_tier_is_held_to_it() -> None:
    tested = {
        each.system
        for each in globals().values()
        if isinstance(each, type) and each.__name__.startswith("Test")
    }
    assert tested == {name for name in available("lb") if "runs" in system("lb", name).levels}
