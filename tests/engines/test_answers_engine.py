"""From a plan to the server's process: a dns role becomes a configuration that is served."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_answers_support import Local, Server

from tierline.engines.answers import ENGINE, intent
from tierline.engines.base import Process
from tierline.errors import EngineError, PlanError
from tierline.plan.model import Endpoint, Plan, Role, Unit, Upstream
from tierline.tiers.dns.common.places import client, table

PLACES = {"eu-west-1": "127.0.1.1", "us-east-1": "127.0.2.1", "ap-southeast-2": "127.0.3.1"}


class Context:
    def __init__(self, root: Path, plan: Plan) -> None:
        self.root = root
        self.plan = plan
        self.python = sys.executable

    def address(self, role: str, endpoint: str) -> tuple[str, int]:
        if role == "dns":
            return "127.0.0.1", 5353
        return PLACES[role.partition(".")[2]], {"https": 8443, "http": 8080}[endpoint]

    def folder(self, unit: str) -> Path:
        return self.root / unit

    def hops(self, unit: str) -> Path:
        return self.root / "hops" / unit


def process(
    root: Path, upstreams: tuple[str, ...] = ("https",), **settings: Any
) -> tuple[Process, dict[str, Any]]:
    cdns = tuple(
        Role(
            id=f"cdn.{region}",
            name="cdn",
            tier="cdn",
            slot="cdn",
            system="nginx",
            engine="nginx",
            region=region,
            endpoints=(
                Endpoint(f"cdn.{region}", "https", "https"),
                Endpoint(f"cdn.{region}", "http", "http"),
            ),
        )
        for region in PLACES
    )
    role = Role(
        id="dns",
        name="dns",
        tier="dns",
        slot="dns",
        system="embedded",
        engine="answers",
        region="eu-west-1",
        settings={"domain": "cinema.test", "ttl": 10.0, "health": "/health", "places": table("eu-west-1")}
        | settings,
        endpoints=(Endpoint("dns", "dns", "dns"),),
        upstreams={
            "cdn": tuple(
                Upstream(cdn.id, endpoint, 0 if cdn.region == "eu-west-1" else 2)
                for cdn in cdns
                for endpoint in upstreams
            )
        },
    )
    units = (
        Unit(id="dns", engine="answers", region="eu-west-1", zone="", roles=(role,)),
        Unit(id="cdn", engine="nginx", region="", zone="", roles=cdns),
    )
    plan = Plan(
        stack="cinema",
        domain="cinema.test",
        region="eu-west-1",
        zones=(),
        places=tuple(PLACES),
        lineup={},
        entry=(),
        units=units,
    )
    (made,) = ENGINE.processes(units[0], Context(root, plan))  # type: ignore[arg-type]
    (text,) = made.files.values()
    return made, json.loads(text)


def unchecked(data: dict[str, Any]) -> dict[str, Any]:
    """The configuration without checks of places that are not there."""
    for place in data["places"].values():
        for target in place["targets"]:
            target["check"] = None
    return data


def test_process(tmp_path: Path) -> None:
    made, data = process(tmp_path)
    path = str(tmp_path / "dns" / "dns.json")
    assert made.argv == (sys.executable, "-m", "tierline.engines.answers", path)
    assert made.check == (sys.executable, "-m", "tierline.engines.answers", "--check", path)
    assert (made.ready.kind, made.ready.target, made.ready.name) == (
        "udp-dns",
        "127.0.0.1:5353",
        "cinema.test",
    )
    assert made.reload == "HUP" and made.roles == ("dns",)
    assert data["hops"] == str(tmp_path / "hops" / "dns")
    check = data["places"]["us-east-1"]["targets"][0]["check"]
    assert (check["kind"], check["host"], check["port"]) == ("https", "127.0.2.1", 8443)
    assert (check["path"], check["name"]) == ("/health", "cinema.test")
    binary = ENGINE.binary()
    assert binary.path == sys.executable and msgspec.json.encode(binary)


def test_the_same_plan_gives_the_same_bytes(tmp_path: Path) -> None:
    assert process(tmp_path)[0] == process(tmp_path)[0]


def test_served(tmp_path: Path) -> None:
    _, data = process(tmp_path)
    data = unchecked(data)
    (tmp_path / "hops").mkdir()
    server = Server(tmp_path, data)
    try:
        answer = server.udp("cinema.test", "HTTPS")
        assert answer.answer[0].to_text() == (
            'cinema.test. 10 IN HTTPS 1 . alpn="h2" port="8443" ipv4hint="127.0.1.1"'
        )
        assert server.udp("www.cinema.test").answer[1].to_text() == "cinema.test. 10 IN A 127.0.1.1"
        assert server.udp("cinema.test", "NS").additional[0].to_text() == "ns1.cinema.test. 10 IN A 127.0.0.1"
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("route", "region", "wanted"),
    [
        (None, "ap-southeast-2", "127.0.3.1"),
        ({"kind": "Latency", "table": None}, "us-east-1", "127.0.2.1"),
        ({"kind": "latency", "table": {"us-east-1": {"eu-west-1": 0.1}}}, "us-east-1", "127.0.1.1"),
        ({"kind": "latency", "table": {"eu-west-1/us-east-1": 0.1}}, "us-east-1", "127.0.1.1"),
        ({"kind": "simple"}, "us-east-1", "127.0.1.1"),
        ({"kind": "failover", "order": ["us-east-1", "eu-west-1"]}, "eu-west-1", "127.0.2.1"),
        ({"kind": "failover"}, "us-east-1", "127.0.1.1"),
        ({"kind": "weighted", "weights": {"us-east-1": 2.5, "eu-west-1": 0}}, "eu-west-1", "127.0.2.1"),
        ({"kind": "multivalue", "to": ["us-east-1"]}, "eu-west-1", "127.0.2.1"),
        (
            {"kind": "geography", "rules": {"DE": "us-east-1", "default": "eu-west-1"}},
            "eu-central-1",
            "127.0.2.1",
        ),
        (
            {"kind": "geography", "rules": {"EU": "us-east-1", "default": "eu-west-1"}},
            "eu-central-1",
            "127.0.2.1",
        ),
        (
            {
                "kind": "geography",
                "rules": {"SA": "us-east-1", "country:US": "ap-southeast-2", "default": "eu-west-1"},
            },
            "us-west-2",
            "127.0.3.1",
        ),
        (
            {
                "kind": "Geography",
                "rules": {"default": {"kind": "Failover", "order": ["ap-southeast-2", "us-east-1"]}},
            },
            "eu-west-1",
            "127.0.3.1",
        ),
    ],
)
def test_routes(tmp_path: Path, route: Any, region: str, wanted: str) -> None:
    _, data = process(tmp_path, route=route)
    assert Local(data).addresses("cinema.test", subnet=f"{client(region)}/32") == [wanted]


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ({"kind": "latensy"}, "no policy 'latensy', did you mean 'latency'?"),
        ("us-east-2", "no place 'us-east-2', did you mean 'us-east-1'?"),
        ({"kind": "failover", "ordre": []}, "failover has no field 'ordre', did you mean 'order'?"),
        ({"kind": "geography", "rules": {"Germany": "us-east-1"}}, "no rule 'Germany'"),
        ({"kind": "latency", "table": {"x": 1}}, "is not 'region/region'"),
    ],
)
def test_routes_that_are_none(tmp_path: Path, route: Any, says: str) -> None:
    with pytest.raises(PlanError) as error:
        process(tmp_path, route=route)
    assert says in str(error.value)


def test_http_alone_has_no_https_record(tmp_path: Path) -> None:
    _, data = process(tmp_path, upstreams=("http",), health=None)
    local = Local(data)
    assert not local.ask("cinema.test", "HTTPS").answer
    check = data["places"]["eu-west-1"]["targets"][0]["check"]
    assert (check["kind"], check["port"]) == ("tcp", 8080)


def test_https_goes_before_http(tmp_path: Path) -> None:
    _, data = process(tmp_path, upstreams=("http", "https"), health_interval=0.5, health_threshold=3)
    (target,) = data["places"]["eu-west-1"]["targets"]
    assert target["check"]["port"] == 8443
    assert (target["check"]["interval"], target["check"]["threshold"]) == (0.5, 3)


def test_records_of_the_user(tmp_path: Path) -> None:
    records = [
        {"kind": "Record", "name": "www", "type": "A", "values": ["127.0.0.5"], "ttl": 300.0},
        {"type": "mx", "value": "10 mail.example.org."},
    ]
    local = Local(process(tmp_path, records=records)[1])
    assert local.ask("www.cinema.test").answer[0].to_text() == "www.cinema.test. 300 IN A 127.0.0.5"
    assert local.ask("cinema.test", "MX").answer[0].to_text() == "cinema.test. 10 IN MX 10 mail.example.org."


def test_wrong_records_are_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"x\.cinema\.test\. A: 'one' is not an IPv4 address"):
        process(tmp_path, records=[{"name": "x", "type": "A", "values": ["one"]}])


def test_raw_configuration(tmp_path: Path) -> None:
    at = {"raw_at": "DNS(raw=) at stack.py:7"}
    assert process(tmp_path, raw='{"udp_size": 1400}', **at)[1]["udp_size"] == 1400
    for wrong in ('{"typo": 1}', "[]", "udp_size: 1400"):
        with pytest.raises(EngineError, match=r"stack\.py:7"):
            process(tmp_path, raw=wrong, **at)


def test_tables_go_both_ways() -> None:
    assert intent.tables({"table": {"a/b": 3}}) == {"a": {"b": 3}, "b": {"a": 3}}
