"""What HTTP demands of the HTTP caches, byte by byte."""

from wire_suite import WireContract

from tierline.tiers.base import available, system


class TestNginx(WireContract):
    tier, system = "cache", "nginx"


class TestSquid(WireContract):
    tier, system = "cache", "squid"


class TestTrafficServer(WireContract):
    tier, system = "cache", "trafficserver"


class TestVarnish(WireContract):
    tier, system = "cache", "varnish"


def test_every_system_of_the_tier_is_held_to_it() -> None:
    tested = {
        each.system
        for each in globals().values()
        if isinstance(each, type) and each.__name__.startswith("Test")
    }
    assert tested == {name for name in available("cache") if "runs" in system("cache", name).levels}
