"""What the answering server refuses to load, and says about it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_answers_support import ZONE, Local, config, target

from tierline.engines.answers.config import Config, ConfigError
from tierline.engines.answers.names import NameError_, to_text, to_wire
from tierline.engines.answers.server import check, endpoint


def record(name: str, kind: str, *values: str, **more: Any) -> dict[str, Any]:
    return {
        "zones": [
            ZONE
            | {"records": [*ZONE["records"], {"name": name, "type": kind, "values": list(values)} | more]}
        ]
    }


def route(to: Any, name: str = "@") -> dict[str, Any]:
    return {"zones": [ZONE | {"routes": [{"name": name, "to": to}]}]}


def place(**check_: Any) -> dict[str, Any]:
    given = {"kind": "http", "host": "127.0.0.1", "port": 80} | check_
    return {
        "places": config()["places"]
        | {"x": {"region": "r", "targets": [target("t", "127.0.0.1", check=given)]}}
    }


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"listen": []}, "listen is empty"),
        ({"listen": ["localhost:53"]}, "'localhost' is not an address"),
        ({"listen": ["127.0.0.1:99999"]}, "is not address:port"),
        ({"listen": ["::1:53"]}, "is not address:port"),
        ({"udp_size": 100}, "udp_size"),
        ({"trusted": ["10.0.0.1/8"]}, "bits set after its prefix"),
        ({"transfer": ["10.0.0.0/40"]}, "no prefix length"),
        ({"subnets": [{"net": "198.18.0.0/24", "continent": "XX"}]}, "'XX' is not one of"),
        ({"subnets": [{"net": "198.18.0.0/24", "country": "ie"}]}, "'ie' is not a country's"),
        (route({"kind": "geography", "country": {"Germany": "eu"}}), "'Germany' is not a country's"),
        (route({"kind": "geography", "continent": {"DE": "eu"}}), "'DE' is not a continent's"),
        ({"subnets": [{"net": "nowhere"}]}, "'nowhere' is not an address"),
        ({"zones": [ZONE, ZONE]}, "is given twice"),
        ({"zones": [ZONE | {"ns": []}]}, "ns is empty"),
        ({"zones": [ZONE | {"name": "a..b"}]}, "empty label"),
        ({"zones": [ZONE | {"soa": {"primary": "ns1", "serial": -1}}]}, "SOA"),
        ({"zones": [ZONE | {"ttl": -1}]}, "TTL of -1"),
        (record("x", "A"), "has no values"),
        (record("x", "A", "256.1.1.1"), "'256.1.1.1' is not an IPv4 address"),
        (record("x", "AAAA", "127.0.0.1"), "is not an IPv6 address"),
        (record("x", "A", "127.0.0.1", ttl=1 << 31), "RFC 2181"),
        (record("mail", "A", "127.0.0.1"), "two record sets of type A"),
        (record("x" * 64, "A", "127.0.0.1"), "a label of 64 bytes"),
        (record(".".join(["x" * 60] * 5), "A", "127.0.0.1"), "bytes long"),
        (record("x.example.org.", "A", "127.0.0.1"), "is not in the zone cinema.test."),
        (record("x", "MX", "mail"), "should be 'preference name'"),
        (record("x", "MX", "70000 mail"), "not a number below 65536"),
        (record("x", "SRV", "1 2 mail"), "should be 'priority weight port name'"),
        (record("x", "CAA", '0 is-sue "x"'), "not a CAA tag"),
        (record("x", "HTTPS", "1 . prot=443"), "'prot' is not a parameter of HTTPS"),
        (record("x", "HTTPS", "1 . port=1 port=2"), "is given twice"),
        (record("x", "HTTPS", "0 . port=1"), "takes no parameters"),
        (record("x", "HTTPS", "1 . no-default-alpn"), "needs alpn"),
        (record("x", "HTTPS", "1"), "priority target"),
        (record("@", "CNAME", "mail"), "use ALIAS at the apex"),
        (record("mail", "CNAME", "one"), "beside other data"),
        (record("x", "CNAME", "one", "two"), "more than one value"),
        (record("x", "ALIAS", "example.org."), "is in no zone here"),
        (record("mail", "ALIAS", "@"), "ALIAS beside A"),
        (record("@", "A", "127.0.0.1"), "a route and A"),
        (route("nowhere"), "no place 'nowhere'; there are eu, us"),
        (route("eu", "www"), "beside other data"),
        (route({"kind": "latency", "to": []}), "nothing to choose from"),
        (route({"kind": "geography"}), "nothing to choose from"),
        (route({"kind": "latency", "to": ["eu", {"kind": "failover", "to": []}]}), "has no place"),
        (route({"kind": "weighted", "to": [{"to": "eu", "weight": -1}]}), "weight"),
        (route({"kind": "multivalue", "to": ["eu"], "limit": 0}), "limit of 0"),
        (place(host="localhost"), "'localhost' is not an address"),
        (place(port=0), "port 0"),
        (place(path="health"), "is not a path"),
        (place(path="/a b"), "is not a path"),
        (place(path="/a\r\nX: y"), "is not a path"),
        (place(name="a\nb"), "is not a host name"),
        (place(interval=0), "above 0"),
        ({"places": config()["places"] | {"x": {"region": "r", "targets": []}}}, "has no targets"),
        (
            {"places": config()["places"] | {"x": {"region": "r", "targets": [target("t", "1.1.1.1")] * 2}}},
            "two targets of one name",
        ),
        (
            {"places": config()["places"] | {"x": {"region": "r", "targets": [target("t", "one")]}}},
            "IPv4 address",
        ),
    ],
)
def test_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(msgspec.convert(config(**more), Config))
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"listen": 1}', '{"listen": [], "zones": [], "typo": 1}'])
def test_files_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dns.json"
    path.write_text(text)
    ran = subprocess.run(
        [sys.executable, "-m", "tierline.engines.answers", "--check", str(path)],
        capture_output=True,
        text=True,
    )
    assert (
        ran.returncode == 1
        and ran.stderr.startswith("configuration refused: ")
        and "Traceback" not in ran.stderr
    )


def test_check_command(tmp_path: Path) -> None:
    path = tmp_path / "dns.json"
    path.write_text(json.dumps(config()))
    ran = subprocess.run(
        [sys.executable, "-m", "tierline.engines.answers", "--check", str(path)], capture_output=True
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert (
        subprocess.run([sys.executable, "-m", "tierline.engines.answers"], capture_output=True).returncode
        == 2
    )


def test_endpoints() -> None:
    assert endpoint("[::1]:53")[1] == ("::1", 53)
    assert endpoint("127.0.0.1:53")[1] == ("127.0.0.1", 53)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("www", "www.cinema.test."),
        ("WWW.Cinema.Test", "www.cinema.test."),
        ("www.example.org.", "www.example.org."),
        ("xcinema.test", "xcinema.test.cinema.test."),
        ("@", "cinema.test."),
        (".", "."),
        ("a\\.b", "a\\.b.cinema.test."),
        ("a\\007b", "a\\007b.cinema.test."),
        ("bücher", "xn--bcher-kva.cinema.test."),
    ],
)
def test_names(text: str, wanted: str) -> None:
    assert to_text(to_wire(text, to_wire("cinema.test."))) == wanted


def test_names_that_are_none() -> None:
    for text in ("a..b", ".a", "x" * 64):
        with pytest.raises(NameError_):
            to_wire(text)


def test_several_zones() -> None:
    inner = {"name": "in.cinema.test", "soa": {"primary": "ns1.cinema.test."}, "ns": ["ns1.cinema.test."]}
    data = config(
        zones=[ZONE, inner | {"records": [{"name": "@", "type": "ALIAS", "values": ["cinema.test."]}]}]
    )
    local = Local(data)
    assert local.addresses("in.cinema.test") == ["127.0.1.1"]
    assert local.ask("x.in.cinema.test").authority[0].name.to_text() == "in.cinema.test."


def test_alias_in_a_circle_ends() -> None:
    circle = [
        {"name": one, "type": "ALIAS", "values": [other]}
        for one, other in (("a", "b"), ("b", "a"), ("c", "c"))
    ]
    local = Local(config(zones=[ZONE | {"records": [*ZONE["records"], *circle]}]))
    for name in ("a", "b", "c"):
        answer = local.ask(f"{name}.cinema.test")
        assert answer.rcode() == 0 and not answer.answer and answer.authority
    assert local.stats.failures == 0
