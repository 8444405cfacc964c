"""Which place a client is given: the policies, their nesting, health, and what is never answered."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from test_answers_support import Local, config, target

from tierline.engines.answers.clients import Clients
from tierline.engines.answers.config import Config
from tierline.engines.answers.networks import address
from tierline.tiers.dns.common.places import REGIONS, client, latency, table

PLACES = {
    "eu": {"region": "eu-west-1", "targets": [target("edge", "127.0.1.1")]},
    "us": {"region": "us-east-1", "targets": [target("edge", "127.0.2.1")]},
    "ap": {"region": "ap-southeast-2", "targets": [target("a", "127.0.3.1"), target("b", "127.0.3.2")]},
}
ALL = ["127.0.1.1", "127.0.2.1", "127.0.3.1", "127.0.3.2"]


def routed(to: Any, **more: Any) -> Local:
    data = config(places=PLACES, **(table("eu-west-1") | more))
    zone = data["zones"][0]
    data["zones"] = [zone | {"routes": [{"name": "@", "to": to}]}]
    return Local(data)


def asked(local: Local, subnet: str = "") -> list[str]:
    return sorted(local.addresses(subnet=subnet))


def take(local: Local, *down: tuple[str, str]) -> None:
    local.down = set(down)
    local.answerer.forget()


EU, US, AP = (f"{client(region)}/32" for region in ("eu-west-1", "us-east-1", "ap-southeast-2"))
OUT = {"eu": ("eu", "edge"), "us": ("us", "edge"), "a": ("ap", "a"), "b": ("ap", "b")}


def test_simple() -> None:
    local = routed({"kind": "simple", "to": ["eu", "us", "ap"]})
    assert asked(local) == asked(local, US) == ALL
    take(local, OUT["us"], OUT["a"])
    assert asked(local) == ["127.0.1.1", "127.0.3.2"]
    take(local, *OUT.values())
    assert asked(local) == ALL  # all down: any answer is better than none


def test_simple_with_a_limit() -> None:
    local = routed({"kind": "simple", "to": ["eu", "us"], "limit": 1})
    assert asked(local, US) == ["127.0.1.1"]
    take(local, OUT["eu"])
    assert asked(local) == ["127.0.2.1"]


def test_latency() -> None:
    local = routed({"kind": "latency", "to": ["us", "eu", "ap"]})
    assert asked(local) == asked(local, EU) == ["127.0.1.1"]
    assert asked(local, US) == ["127.0.2.1"]
    assert asked(local, AP) == ["127.0.3.1", "127.0.3.2"]
    assert asked(local, f"{client('eu-central-1')}/32") == ["127.0.1.1"]
    assert asked(local, f"{client('ap-northeast-1')}/32") == ["127.0.3.1", "127.0.3.2"]
    take(local, OUT["a"])
    assert asked(local, AP) == ["127.0.3.2"]
    take(local, OUT["eu"])
    assert asked(local, EU) == ["127.0.2.1"]
    take(local, OUT["eu"], OUT["us"])
    assert asked(local, EU) == ["127.0.3.1", "127.0.3.2"]
    take(local, *OUT.values())
    assert asked(local, US) == ["127.0.2.1"]
    take(local)
    assert asked(local, EU) == ["127.0.1.1"]


def test_a_latency_table_of_ones_own() -> None:
    local = routed(
        {"kind": "latency", "to": ["us", "eu"]}, latency={"us-east-1": {"us-east-1": 9, "eu-west-1": 8}}
    )
    assert asked(local, US) == ["127.0.1.1"]
    assert asked(local, EU) == ["127.0.1.1"]  # no figures: one's own region
    assert asked(local, AP) == ["127.0.2.1"]  # no figures at all: in their order


def test_weighted() -> None:
    shares = [{"to": "eu", "weight": 3}, {"to": "us", "weight": 1}, {"to": "ap", "weight": 0}]
    local = routed({"kind": "weighted", "to": shares})

    def count(asks: int = 800) -> Counter[str]:
        wire = b"\0\1\1\0\0\1\0\0\0\0\0\0\x06cinema\x04test\0\0\1\0\1"
        return Counter((local.raw(wire) or b"")[-4:].hex() for _ in range(asks))

    counts = count()
    assert set(counts) == {"7f000101", "7f000201"}
    assert 0.65 < counts["7f000101"] / 800 < 0.85  # 0.75, by more than six deviations
    take(local, OUT["eu"])
    assert set(count(50)) == {"7f000201"}
    take(local, OUT["eu"], OUT["us"])
    assert {address[:-2] for address in count(50)} == {"7f0003"}
    take(local, *OUT.values())
    assert set(count(200)) == {"7f000101", "7f000201"}
    local.answerer.count()
    assert local.stats.places["eu"] > local.stats.places["us"] > 0


def test_multivalue() -> None:
    local = routed({"kind": "multivalue", "to": ["eu", "us", "ap"], "limit": 2})
    seen: Counter[str] = Counter()
    wire = b"\0\1\1\0\0\1\0\0\0\0\0\0\x06cinema\x04test\0\0\1\0\1"
    for _ in range(100):
        answer = local.raw(wire) or b""
        assert answer[7] == 2
        seen.update((answer[-20:-16].hex(), answer[-4:].hex()))
    assert len(seen) == 4 and min(seen.values()) > 20
    take(local, OUT["eu"], OUT["us"], OUT["a"])
    assert asked(local) == ["127.0.3.2"]


def test_geography() -> None:
    local = routed(
        {
            "kind": "geography",
            "country": {"IE": "eu", "AU": "ap"},
            "continent": {"NA": "us", "EU": "us"},
            "default": "ap",
        }
    )
    assert asked(local, EU) == ["127.0.1.1"]
    assert asked(local, f"{client('eu-central-1')}/32") == ["127.0.2.1"]  # DE: by continent
    assert asked(local, US) == ["127.0.2.1"]
    assert asked(local, f"{client('sa-east-1')}/32") == ["127.0.3.1", "127.0.3.2"]  # by default
    take(local, OUT["eu"])
    assert asked(local, EU) == ["127.0.2.1"]  # the country's place is down: the continent's
    take(local, OUT["eu"], OUT["us"])
    assert asked(local, EU) == ["127.0.3.1", "127.0.3.2"]
    take(local, *OUT.values())
    assert asked(local, EU) == ["127.0.1.1"]


def test_geography_without_a_default() -> None:
    local = routed({"kind": "geography", "country": {"US": "us"}})
    answer = local.ask("cinema.test", subnet=EU)
    assert not answer.answer and answer.authority and answer.options[0].scopelen == 24


def test_failover() -> None:
    local = routed({"kind": "failover", "to": ["us", "eu"]})
    assert asked(local, EU) == ["127.0.2.1"]
    take(local, OUT["us"])
    assert asked(local, EU) == ["127.0.1.1"]
    take(local, OUT["us"], OUT["eu"])
    assert asked(local, EU) == ["127.0.2.1"]


def test_failover_inside_geography() -> None:
    local = routed(
        {
            "kind": "geography",
            "continent": {"EU": {"kind": "failover", "to": ["eu", "us"]}},
            "default": {"kind": "latency", "to": ["us", {"kind": "failover", "to": ["ap", "us"]}]},
        }
    )
    assert asked(local, EU) == ["127.0.1.1"]
    assert asked(local, AP) == ["127.0.3.1", "127.0.3.2"]
    take(local, OUT["eu"])
    assert asked(local, EU) == ["127.0.2.1"]
    take(local, OUT["a"], OUT["b"])
    assert asked(local, AP) == ["127.0.2.1"]
    assert asked(local, EU) == ["127.0.1.1"]
    router = local.answerer.router
    node = local.answerer._config.zones[0].routes[0].to
    group = local.answerer.clients.of(client("eu-west-1"))
    assert router.choose(node, group).verdict == "geography → failover → eu"
    take(local, *OUT.values())
    assert router.choose(node, group).verdict == "geography → failover → eu (all down)"


def test_https_and_aaaa_follow_the_route() -> None:
    places = {
        "eu": {
            "region": "eu-west-1",
            "targets": [{"name": "six", "aaaa": ["2001:db8::1"], "https": "port=1"}],
        }
    }
    data = config(places=places)
    data["zones"][0] = data["zones"][0] | {"routes": [{"name": "@", "to": "eu"}]}
    local = Local(data)
    assert local.addresses(kind="AAAA") == ["2001:db8::1"]
    assert not local.addresses(kind="A")
    assert (
        local.ask("cinema.test", "HTTPS").answer[0].to_text().endswith('1 . port="1" ipv6hint="2001:db8::1"')
    )


def test_places_are_counted() -> None:
    local = routed({"kind": "latency", "to": ["us", "eu"]})
    asked(local, US), asked(local, EU), local.ask("none.cinema.test")
    local.answerer.count()
    assert dict(local.stats.places) == {"us": 3, "eu": 3}
    assert dict(local.stats.rcodes) == {"NOERROR": 6, "NXDOMAIN": 3}
    assert local.stats.hits == 6


@pytest.mark.parametrize(
    ("to", "scope"),
    [
        ("eu", 0),
        ({"kind": "failover", "to": ["eu", "us"]}, 0),
        ({"kind": "simple", "to": ["eu", "us"]}, 0),
        ({"kind": "weighted", "to": [{"to": "eu", "weight": 1}]}, 0),
        ({"kind": "latency", "to": ["eu", "us"]}, 24),
        ({"kind": "failover", "to": ["eu", {"kind": "geography", "default": "us"}]}, 24),
    ],
)
def test_scope_says_whether_the_client_mattered(to: Any, scope: int) -> None:
    assert routed(to).ask("cinema.test", subnet=US).options[0].scopelen == scope


def test_simulated_clients() -> None:
    data = table("eu-west-1")
    nets = [subnet["net"] for subnet in data["subnets"]]
    assert len(set(nets)) == len(nets) == 2 * len(REGIONS)
    assert client("us-east-1") == "198.18.0.10" and client("berlin", ["berlin"]).startswith("198.18.")
    with pytest.raises(KeyError):
        client("berlin")
    for one, row in data["latency"].items():
        assert min(row, key=row.__getitem__) == one and len(row) == len(REGIONS)


@pytest.mark.parametrize(
    ("one", "other", "measured"),
    [("us-east-1", "eu-west-1", 70), ("us-east-1", "us-west-2", 62), ("eu-west-1", "ap-southeast-2", 255)],
)
def test_latency_estimates(one: str, other: str, measured: float) -> None:
    estimate = latency(REGIONS[one], REGIONS[other])
    assert measured * 0.66 < estimate < measured * 1.34
    assert estimate == latency(REGIONS[other], REGIONS[one])


def test_countries_of_the_registries() -> None:
    """Where the subnets say nothing, an optional package does; where they do, it is not asked."""
    asked_for: list[str] = []

    def country(text: str) -> str:
        asked_for.append(text)
        return "DE"

    clients = Clients(msgspec.convert(config(), Config), country)
    group, scope = clients.locate(*address("203.0.113.9"))
    assert (group.country, group.continent, group.region, scope) == ("DE", "EU", "eu-west-1", 24)
    assert clients.locate(*address("2001:db8:7::1"))[1] == 56
    assert asked_for == ["203.0.113.9", "2001:0db8:0007:0000:0000:0000:0000:0001"]
    assert clients.of("198.18.5.1").country == "US" and clients.of("127.0.0.1").country == "IE"
    assert len(asked_for) == 2


def test_multivalue_inside_geography() -> None:
    local = routed(
        {"kind": "geography", "default": {"kind": "multivalue", "to": ["eu", "us", "ap"], "limit": 2}}
    )
    wire = b"\0\1\1\0\0\1\0\0\0\0\0\0\x06cinema\x04test\0\0\1\0\1"
    answers = [local.raw(wire) or b"" for _ in range(50)]
    assert {answer[7] for answer in answers} == {2}
    assert len({answer[-4:] for answer in answers}) == 4


def test_all_down_passes_over_what_has_nothing_for_the_client() -> None:
    local = routed({"kind": "failover", "to": [{"kind": "geography", "country": {"US": "us"}}, "eu"]})
    assert asked(local, EU) == ["127.0.1.1"]
    take(local, *OUT.values())
    assert asked(local, EU) == ["127.0.1.1"]
    assert asked(local, US) == ["127.0.2.1"]
