"""What one caller gets through the CDN and every cache is nobody else's."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import httpx
import pytest

from workbench import Bench

STACK = """
from tierline import *
from tierline.journeys import Cache
mine = Journey("mine", "/mine")
both = Journey("both", "/both")

@mine.part(cache="60s")
@both.part(cache="60s")
async def orders(members) -> str:
    return (await members.get("/orders")).text

@both.part(cache=Cache("60s", vary=["x-experiment"]))
async def variant(request) -> str:
    return request.header("x-experiment") or "none"

stack = Stack("private", clients=[Web()], zones=["a"],
    cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(),
    gateway=Gateway(auth=JWT(issuer="shop", audience="shop", paths=["/mine"])),
    journeys=[mine, both],
    services=[Service("members", "members:app", forward=["authorization"])])
"""

MEMBERS = """
import hashlib
async def app(scope, receive, send):
    assert scope["type"] == "http"
    who = dict(scope["headers"]).get(b"authorization", b"nobody")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": hashlib.sha256(who).hexdigest().encode()})
"""


def test_two_tokens_through_the_cdn_never_see_each_others_answers(bench: Callable[..., Bench]) -> None:
    line = bench(STACK, members=MEMBERS)
    line.up()
    tokens = [line.run("token", "--sub", who).stdout.strip() for who in ("ada", "eve")]
    assert len(set(tokens)) == 2 and all(token.count(".") == 2 for token in tokens)
    with httpx.Client(base_url=line.status()["urls"]["http"]) as client:
        for _ in range(3):
            for token in tokens:
                said = {"authorization": f"Bearer {token}"}
                own = hashlib.sha256(said["authorization"].encode()).hexdigest()
                for path in ("/mine", "/both"):
                    answer = client.get(path, headers=said)
                    assert answer.status_code == 200, answer.text
                    assert answer.json()["orders"] == own
                    assert "public" not in answer.headers["cache-control"]
            assert client.get("/mine").status_code == 401
            assert client.get("/both").json()["orders"] == hashlib.sha256(b"nobody").hexdigest()
            for variant in ("a", "b"):
                answer = client.get("/both", headers={"x-experiment": variant})
                assert answer.json()["variant"] == variant
                assert "x-experiment" in answer.headers["vary"]
        forged = {"x-tierline-claims": '{"sub":"ada"}', "authorization": "Bearer a.b.c"}
        assert client.get("/mine", headers=forged).status_code == 401


@pytest.mark.parametrize("gateway", ["envoy", "haproxy", "nginx"])
def test_claims_are_the_gateways_and_not_whoever_finds_the_journeys_port(
    bench: Callable[..., Bench], gateway: str
) -> None:
    stack = STACK.replace("@mine.part(cache", "@mine.guard\ndef signed_in(identity):\n    if not identity:\n"
                          "        raise Unauthorized\n\n@mine.part(cache")  # fmt: skip
    line = bench(stack.replace("import Cache", "import Cache, Unauthorized"), members=MEMBERS)
    line.up("--use", f"gateway={gateway}")
    token = line.run("token", "--sub", "ada").stdout.strip()
    told = line.status()
    own = f"http://{told['addresses']['experience.a/http']}/mine"
    claims = {"x-tierline-claims": base64.urlsafe_b64encode(b'{"sub":"ada"}').decode().rstrip("=")}
    with httpx.Client() as client:
        assert (
            client.get(
                f"{told['urls']['http']}mine", headers={"authorization": f"Bearer {token}"}
            ).status_code
            == 200
        )
        assert client.get(own, headers=claims).status_code == 401
