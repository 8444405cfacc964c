"""`OIDC(issuer="local")`: the line plays the identity provider, and a browser logs in through every tier in front."""

from __future__ import annotations

import html
import json
import re
import ssl
from collections.abc import Callable

import httpx
import pytest

from workbench import Bench

STACK = """
from tierline import OIDC, Access, Gateway, HTTPCache, LoadBalancer, Service, Stack

stack = Stack(
    "login",
    lb=LoadBalancer(),
    cache=HTTPCache(),
    gateway=Gateway(
        login=OIDC(paths=["/account"], users={"ann": {"role": "admin"}, "bob": {}}),
        access=[Access(paths=["/account/admin"], claims={"role": "admin"})],
    ),
    services=[Service("hello", "hello:app", expose=["/"])],
    zones=["a", "b"],
)
"""
HELLO = """
import json

async def app(scope, receive, send):
    assert scope["type"] == "http"
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    body = json.dumps({"subject": headers.get("x-tierline-subject")}).encode()
    said = [(b"content-type", b"application/json"), (b"cache-control", b"public, max-age=60")]
    await send({"type": "http.response.start", "status": 200, "headers": said})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("front", ["embedded", "envoy", "haproxy"])
def test_a_browser_logs_in_through_the_whole_line(bench: Callable[..., Bench], front: str) -> None:
    line = bench(STACK, hello=HELLO)
    chosen = {"envoy": ["lb=envoy"], "haproxy": ["gateway=haproxy"]}.get(front, [])
    line.up(*(word for each in chosen for word in ("--use", each)))
    told = line.status()
    base = told["urls"]["https"].rstrip("/")
    port = base.rpartition(":")[2]
    trust = ssl.create_default_context(cafile=str(line.state / "authority" / "ca.pem"))
    trust.check_hostname = False  # the certificate is for the domain; the address is a zone's

    def browser() -> httpx.Client:
        return httpx.Client(
            verify=trust, trust_env=False, headers={"accept": "text/html"}, follow_redirects=True
        )

    def login(client: httpx.Client, user: str) -> httpx.Response:
        page = client.get(f"{base}/account")
        assert "Who are you?" in page.text and user in page.text
        assert page.url.host == "127.0.0.1" and page.url.port != int(port)
        form = {
            n: html.unescape(v)
            for n, v in re.findall(r'type=hidden name="([^"]*)" value="([^"]*)"', page.text)
        }
        return client.post(str(page.url.copy_with(query=None)), data={**form, "user": user})

    with browser() as ann, browser() as bob, browser() as nobody:
        assert login(ann, "ann").json() == {"subject": "ann"}
        assert login(bob, "bob").json() == {"subject": "bob"}
        # Nobody is given what another has asked for, though the service calls it public.
        assert ann.get(f"{base}/account").json() == {"subject": "ann"}
        assert "Who are you?" in nobody.get(f"{base}/account").text
        assert ann.get(f"{base}/account/admin").status_code == 200
        assert bob.get(f"{base}/account/admin").status_code == 403
        assert nobody.get(f"{base}/account", headers={"accept": "application/json"}).status_code == 401
        assert ann.get(f"{base}/-/logout").url.path == "/"
        assert "Who are you?" in ann.get(f"{base}/account").text
    roles = {role for process in told["processes"] for role in process["roles"]}
    assert "identity" in roles
    secrets = json.loads((line.state / "secrets.json").read_text())
    for path in (line.state / "run").rglob("*"):
        if path.is_file() and secrets["login.hmac"] in path.read_text(errors="replace"):
            assert path.stat().st_mode & 0o077 == 0, path


def test_a_lineup_that_plays_no_provider_says_so(bench: Callable[..., Bench]) -> None:
    line = bench(STACK, hello=HELLO)
    done = line.run("plan", "--lineup", "aws")
    assert done.returncode == 2
    assert "https:// issuer of a real provider" in done.stderr
