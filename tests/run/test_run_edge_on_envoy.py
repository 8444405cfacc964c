"""Load balancer and gateway in one Envoy: a request is parsed once, and answers and hops are those of two processes."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from waiting import PATIENCE, eventually
from workbench import Bench

STACK = """
from tierline import *
stack = Stack(
    "merged", zones=["a"], lb=LoadBalancer(hsts="1d"), cache=None,
    gateway=Gateway(
        auth=JWT(issuer="issuer", audience="us", paths=["/private"], jwks="keys.json"), cors=["https://app.test"],
        limits=[RateLimit(LIMIT, per="60s", by="consumer")], response={"X-Gateway": "yes"},
    ),
    services=[Service("said", "said:app", expose=["/"])],
)
"""
APP = """
import json
number = 0

async def app(scope, receive, send):
    global number
    number += 1
    heard = {name.decode(): value.decode() for name, value in scope["headers"]}
    body = json.dumps({"number": number, "method": scope["method"], "heard": heard}).encode()
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"max-age=60")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


class Edge:
    """A running line and whoever asks it."""

    def __init__(self, bench: Bench, token: str, stack: str) -> None:
        self.bench = bench
        self.stack = stack
        self.token = token
        self.url = bench.status()["urls"]["https"]

    def ask(
        self, path: str, method: str = "GET", token: str | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            given["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(
            self.url.rstrip("/") + path,
            method=method,
            headers=given,
            data=b"" if method == "POST" else None,
        )
        try:
            with urllib.request.urlopen(
                request, context=ssl._create_unverified_context(), timeout=PATIENCE
            ) as got:
                return got.status, json.load(got), {k.lower(): v for k, v in got.headers.items()}
        except urllib.error.HTTPError as refused:
            body = json.load(refused)
            return refused.code, body, {k.lower(): v for k, v in refused.headers.items()}


@pytest.fixture(scope="module", params=["fused", "not fused", "around a cache"])
def edge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key()))
    keys = {"keys": [{**public, "kid": "k", "alg": "ES256"}]}
    claims = {"iss": "issuer", "aud": "us", "sub": "somebody", "exp": int(time.time()) + 3600}
    token = jwt.encode(claims, key, "ES256", headers={"kid": "k"})
    files = {"said": APP, "keys.json": json.dumps(keys)}
    stack = STACK.replace("cache=None", "cache=HTTPCache()") if request.param == "around a cache" else STACK
    bench = Bench(tmp_path_factory.mktemp("merged"), stack.replace("LIMIT", "1000"), files)
    bench.up("--use", "lb=envoy", *(["--no-fusion"] if request.param == "not fused" else []))
    yield Edge(bench, token, stack)
    bench.close()


@pytest.mark.parametrize("edge", ["around a cache"], indirect=True)
def test_what_bypasses_a_cache_is_parsed_once_too(edge: Edge) -> None:
    """The balancer's routes go to the service for paths that need a token, and through the cache for others."""
    (routes,) = (edge.bench.folder / ".tierline/run/envoy.a").glob("routes-lb.a.json")
    found = [
        (route["route"]["cluster"], any(each["name"] == ":path" for each in route["match"]["headers"]))
        for resource in json.loads(routes.read_text())["resources"]
        for host in resource["virtual_hosts"]
        for route in host["routes"]
        if "route" in route and "headers" in route["match"]
    ]
    assert ("said", True) in found and ("said", False) not in found and ("cache", False) in found
    trip = edge.bench.trip("/private/t", "--header", f"Authorization: Bearer {edge.token}")
    assert [hop["tier"] for hop in trip["hops"]][1:] == ["lb", "gateway", "feature"]
    assert "cache" in [hop["tier"] for hop in edge.bench.trip("/public/t")["hops"]]


def test_fusion_is_one_process(edge: Edge, request: pytest.FixtureRequest) -> None:
    processes = [each for each in edge.bench.status()["processes"] if each["engine"] == "envoy"]
    assert len(processes) == (2 if "not fused" in request.node.name else 1)


def test_what_came_with_a_token_is_the_services_own(edge: Edge) -> None:
    _, first, _ = edge.ask("/private/a", token=edge.token)
    status, second, headers = edge.ask("/private/a", token=edge.token)
    assert status == 200 and second["number"] > first["number"]
    heard = second["heard"]
    assert heard["x-forwarded-for"] == "127.0.0.1" and heard["traceparent"]
    assert headers["x-gateway"] == "yes" and "strict-transport-security" in headers
    assert not [name for name in headers if name.startswith(("x-envoy", "x-tierline"))]


def test_services_hear_who_the_client_is_whichever_way_it_came(edge: Edge) -> None:
    ways: list[tuple[str, str, str | None]] = [
        ("/who/1", "GET", None),
        ("/who/2", "GET", edge.token),
        ("/who/3", "POST", None),
    ]
    for path, method, token in ways:
        told = {"X_Forwarded_For": "192.0.2.9", "X_Tierline_From": "192.0.2.9"}
        _, said, _ = edge.ask(path, method=method, token=token, **told)
        assert said["heard"]["x-forwarded-for"] == "127.0.0.1", (path, method)
        assert not [name for name in said["heard"] if name in ("x-tierline-from", "x-tierline-ask")]


@pytest.mark.parametrize("token", [None, "nonsense", "a.b.c"])
def test_a_stranger_is_refused_by_the_gateway(edge: Edge, token: str | None) -> None:
    status, problem, headers = edge.ask("/private/b", token=token)
    assert status == 401 and problem["status"] == 401
    assert headers["content-type"] == "application/problem+json"


def test_a_page_of_another_origin_may_read_it(edge: Edge) -> None:
    for path, token in (("/fresh", None), ("/private/o", edge.token)):
        _, _, headers = edge.ask(path, token=token, Origin="https://app.test")
        assert headers["access-control-allow-origin"] == "https://app.test"


def test_a_trip_shows_each_tier(edge: Edge) -> None:
    trip = edge.bench.trip("/private/c", "--header", f"Authorization: Bearer {edge.token}")
    hops = {hop["tier"]: hop for hop in trip["hops"]}
    assert {"lb", "gateway", "feature"} <= hops.keys()
    assert hops["gateway"]["verdict"] == "allowed"
    trip = edge.bench.trip("/private/c", "--header", "Authorization: Bearer nonsense")
    verdicts = {hop["tier"]: hop["verdict"] for hop in trip["hops"]}
    assert "refused" in verdicts["gateway"] and "refused" not in verdicts["lb"]


def test_a_new_limit_counts_on_every_way(edge: Edge) -> None:
    """The last one: it uses the limit up."""
    (edge.bench.folder / "stack.py").write_text(edge.stack.replace("LIMIT", "2"))
    assert edge.bench.run("reload").returncode == 0
    eventually(lambda: edge.ask("/private/d", token=edge.token)[0] == 429)
    assert edge.ask("/private/d", token=edge.token)[2]["retry-after"]
