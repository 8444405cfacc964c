"""`tierline certificate` makes what the gateway's listener for certificates accepts."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from workbench import ONE, Bench, run

STACK = """
from tierline import MTLS, Gateway, LoadBalancer, Service, Stack

stack = Stack(
    "certified",
    lb=LoadBalancer(),
    gateway=Gateway(mtls=MTLS(consumers={"acme": "acme"}, paths=["/partners"])),
    services=[Service("hello", "hello:app", expose=["/"])],
    zones=["a"],
)
"""
HELLO = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    who = dict(scope["headers"]).get(b"x-tierline-consumer", b"nobody")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": who})
"""


@pytest.mark.parametrize("system", ["envoy", "haproxy", "fused"])
def test_a_certificate_of_the_line_opens_its_door(
    bench: Callable[..., Bench], tmp_path: Path, system: str
) -> None:
    line = bench(STACK, hello=HELLO)
    line.up("--use", *(["lb=envoy"] if system == "fused" else [f"gateway={system}"]))
    urls = line.status()["urls"]
    done = run("certificate", "acme", str(line.folder), "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert urls["mtls"] in done.stdout
    assert (tmp_path / "acme.key").stat().st_mode & 0o077 == 0
    trust = ssl.create_default_context(cafile=str(line.state / "authority" / "ca.pem"))
    trust.load_cert_chain(tmp_path / "acme.pem", tmp_path / "acme.key")
    answer = httpx.get(f"{urls['mtls']}partners", verify=trust, trust_env=False)
    assert (answer.status_code, answer.text) == (200, "acme")

    # In front, where TLS ends at the balancer, the same paths are closed, whatever a client says.
    plain = ssl.create_default_context(cafile=str(line.state / "authority" / "ca.pem"))
    answer = httpx.get(
        f"{urls['https']}partners", headers={"x-tierline-consumer": "acme"}, verify=plain, trust_env=False
    )
    assert answer.status_code == 401
    assert httpx.get(f"{urls['https']}other", verify=plain, trust_env=False).text == "nobody"


def test_a_name_that_is_none_is_refused(bench: Callable[..., Bench]) -> None:
    line = bench(STACK, hello=HELLO)
    done = run("certificate", "../acme", str(line.folder))
    assert done.returncode == 2 and "no name for a certificate" in done.stderr


def test_nobody_makes_a_certificate_that_opens_nothing(bench: Callable[..., Bench]) -> None:
    line = bench(ONE)
    done = run("certificate", "acme", str(line.folder), cwd=line.folder)
    assert done.returncode == 2 and "Gateway(mtls=MTLS(…))" in done.stderr
    assert not (line.folder / "acme.key").exists()
    assert not line.state.exists()
