"""Whole lines: nothing that a policy protects is reached by another spelling of its path, in every lineup that runs here.

The service takes a path as generously as any server does: it decodes twice, cuts `;…` off segments, takes `\\` for `/`,
and resolves dots. So it says whether somebody may have got something that a rule was about.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from edge import raw
from paths_suite import REFUSED, SPELT, respelt

from ports import free_port
from workbench import Bench

APP = r"""
import re
from urllib.parse import unquote_to_bytes


def plainest(path):
    for _ in range(3):
        path = unquote_to_bytes(path)
    # UTF-8 that is longer than needed, as old decoders took it.
    for byte in b"./\\":
        path = path.replace(bytes([0xC0 | byte >> 6, 0x80 | byte & 63]), bytes([byte]))
        path = path.replace(bytes([0xE0, 0x80 | byte >> 6, 0x80 | byte & 63]), bytes([byte]))
    path = path.decode("latin-1").replace("\\", "/")
    found = []
    for segment in path.split("/"):
        segment = re.split("[;\0\r\n]", segment)[0]
        if segment == "..":
            found = found[:-1]
        elif segment not in ("", "."):
            found.append(segment)
    return found[0] if found else ""


async def app(scope, receive, send):
    first = plainest(scope["raw_path"])
    fields = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"reached <" + first.encode("latin-1") + b">"})
"""
STACK = """
from tierline import CDN, DNS, JWT, Access, CDNRule, Gateway, HTTPCache, LoadBalancer, RateLimit, Service, Simple, Stack
stack = Stack(
    "spelt", dns=DNS("spelt.test", route=Simple()), lb=LoadBalancer(), cache=HTTPCache(),
    cdn=CDN(rules=[CDNRule("/signed", signed=True), CDNRule("/signed/", signed=True)]),
    gateway=Gateway(
        paths="{paths}",
        auth=JWT(issuer="us", audience="api", paths=["/token", "/role"]),
        access=[
            Access(paths=["/role"], claims={{"role": "admin"}}), Access(paths=["/network"], addresses=["192.0.2.0/24"]),
        ],
        limits=[RateLimit(1, per="1h", by="client", paths=["/counted"])],
    ),
    services=[Service("web", "app:app", expose=["/"])],
    zones=["a"],
)
"""
RULES = ("token", "role", "network", "counted", "signed")
MORE = (
    "/x/../secret", "/./secret", "/%2e/secret", "/secret/.", "/secret/%2e", "/secret%20", "/secret%09", "/secret#x",
    "/secret%23", "/secret%3fx", "/\\secret", "/secret%5c", "/x\\..\\secret", "/x;/../secret", "/;/secret", "/;x=1/secret",
    "///secret", "/%2f%2fsecret", "/%252fsecret", "/secret%252f", "/x/%2e%2e%2fsecret", "/x/..%c0%afsecret", "/%c0%ae/secret",
    "/secret%00.css", "/secret%0a", "/secret/%2e%2e/secret", "http://localhost/secret", "http://localhost//secret",
    "HTTP://localhost/secret", "http://localhost/%73ecret", "/x/%u002e%u002e/secret", "/secret/", "/secret/x?y=..",
)  # fmt: skip
"""What else has been a way around somebody's rules."""
LINEUPS = [
    (lineup, paths)
    for lineup in ("embedded", "fast", "popular", "alternate")
    for paths in ("safe", "as_sent")
]


@pytest.fixture(scope="module", params=LINEUPS, ids=lambda each: "-".join(each))
def line(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bench, int, tuple[str, ...]]]:
    lineup, paths = request.param
    with contextlib.closing(
        Bench(tmp_path_factory.mktemp("spelt"), STACK.format(paths=paths), {"app": APP})
    ) as bench:
        port = free_port()
        bench.up("--lineup", lineup, "--port", f"https={port}")
        yield bench, port, RULES


def ask(port: int, path: str, *fields: str) -> bytes:
    trust = ssl._create_unverified_context()
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields]
    return raw(
        ("127.0.0.1", port), "".join(f"{each}\r\n" for each in [*lines, ""]).encode("latin-1"), tls=trust
    )


def test_no_spelling_gets_past_a_rule(line: tuple[Bench, int, tuple[str, ...]]) -> None:
    bench, port, rules = line
    token = bench.run("token", "--claim", "role=user").stdout.strip()
    assert (
        b" 200 " in ask(port, "/open")[:20]
        and b" 200 " in ask(port, "/token", f"Authorization: Bearer {token}")[:20]
    )
    assert b"reached <counted>" in ask(port, "/counted")
    for rule in RULES:
        assert ask(port, f"/{rule}").split()[1] in (b"401", b"403", b"429"), rule

    def tried(each: tuple[str, str]) -> str:
        rule, path = each
        fields = [f"Authorization: Bearer {token}"] if rule == "role" else []
        answer = ask(port, respelt(path, rule), *fields)
        return f"{path}: {answer!r}" if f"reached <{rule}>".encode() in answer else ""

    with ThreadPoolExecutor(16) as pool:
        found = pool.map(tried, [(rule, path) for rule in rules for path in (*REFUSED, *SPELT, *MORE)])
        past = [each.split(": ")[0] + " " + each[-9:] for each in found if each]
    assert not past, past
