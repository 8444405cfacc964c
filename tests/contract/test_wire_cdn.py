"""What HTTP demands of the CDNs, byte by byte."""

from wire_suite import HTTP2WireContract

from tierline.tiers.base import available, system


class TestNginx(HTTP2WireContract):
    tier, system = "cdn", "nginx"


class TestVarnish(HTTP2WireContract):
    tier, system = "cdn", "varnish"


def test_every_system_of_the_tier_is_held_to_it() -> None:
    tested = {
        each.system
        for each in globals().values()
        if isinstance(each, type) and each.__name__.startswith("Test")
    }
    assert tested == {name for name in available("cdn") if "runs" in system("cdn", name).levels}
