"""Bodies are shaped in a whole line, also where balancer and gateway are one Envoy."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx
import pytest

from workbench import Bench

STACK = """
from tierline import Gateway, LoadBalancer, Route, Service, Stack

stack = Stack(
    "shapes",
    lb=LoadBalancer(),
    gateway=Gateway(
        routes=[
            Route("/films/{film_id}", to="echo", request_body={"film": "{film_id}", "stars": "{rating}"},
                  response_body={"said": "{body}"}),
        ]
    ),
    services=[Service("echo", "echo:app", expose=["/plain"])],
    zones=["a"],
)
"""
ECHO = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("front", ["haproxy", "envoy"])
def test_bodies_are_shaped_behind_any_balancer(bench: Callable[..., Bench], front: str) -> None:
    line = bench(STACK, echo=ECHO)
    line.up("--use", f"lb={front}")
    trust = ssl.create_default_context(cafile=str(line.state / "authority" / "ca.pem"))
    with httpx.Client(base_url=line.status()["urls"]["https"], verify=trust, trust_env=False) as client:
        answer = client.post("films/7", json={"rating": 5, "more": "x"})
        assert answer.json() == {"said": {"film": "7", "stars": 5}}
        bad = client.post("films/7", content=b"{", headers={"content-type": "application/json"})
        assert bad.status_code == 400 and bad.headers["content-type"] == "application/problem+json"
        assert client.post("plain", json={"a": 1}).json() == {"a": 1}
