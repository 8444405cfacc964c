"""Who calls what is counted while a line runs, and a trip says who asked and which policy refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from waiting import eventually
from workbench import Bench

STACK = """
from tierline import Access, APIKeys, Gateway, JWT, Service, Stack

stack = Stack(
    "callers",
    gateway=Gateway(
        auth=JWT(issuer="i", audience="us", paths=["/private"]),
        keys=APIKeys(consumers={"partner": ""}, paths=["/feed"]),
        access=[Access(paths=["/admin"], claims={"role": "admin"})],
    ),
    services=[Service("hello", "hello:app", expose=["/feed", "/private", "/admin"])],
    zones=["a"],
)
"""
HELLO = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.mark.parametrize("system", ["envoy", "haproxy"])
def test_who_calls_what_is_counted_and_told(bench: Callable[..., Bench], system: str) -> None:
    line = bench(STACK, hello=HELLO)
    line.up("--use", f"gateway={system}")
    key = json.loads((line.state / "secrets.json").read_text())["apikey.partner"]
    for _ in range(3):
        trip = line.trip("/feed", "--header", f"x-api-key: {key}")
    gateway = next(hop for hop in trip["hops"] if hop["tier"] == "gateway")
    assert (gateway["verdict"], gateway["attributes"]["enduser.id"]) == ("allowed", "partner")
    trip = line.trip("/admin", "--token", "dev")
    gateway = next(hop for hop in trip["hops"] if hop["tier"] == "gateway")
    assert gateway["verdict"] == "refused: access"
    assert gateway["attributes"]["tierline.policy"] == "access-0:/admin"
    assert gateway["attributes"]["enduser.id"] == "alice"

    def counted() -> bool:
        text = line.run("metrics").stdout
        wanted = (
            'tierline_gateway_requests_total{zone="a",route="hello",consumer="partner",status="200",verdict="allowed"} 3',
            'consumer="alice",status="403",verdict="refused: access"} 1',
            f'tierline_requests_total{{tier="gateway",system="{system}",zone="a",status="200",verdict="allowed"}} 3',
        )
        return all(line in text for line in wanted)

    assert eventually(counted), line.run("metrics").stdout
    assert "partner" in line.run("metrics", "--callers").stdout
    rows = json.loads(line.run("metrics", "--json").stdout)
    assert {"zone": "a", "route": "hello", "consumer": "partner", "status": 200, "verdict": "allowed",
            "requests": 3} in rows  # fmt: skip
