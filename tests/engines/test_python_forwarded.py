"""Workers describe a request by what the line says of its client, and by its own connection when it came directly."""

from __future__ import annotations

from typing import Any

import pytest

from tierline.engines.python.forwarded import described, identified

SAID = [
    (b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"shop.test:8443"),
    (b"x-forwarded-port", b"8443"), (b"forwarded", b'for=192.0.2.7;host="shop.test:8443";proto=https'),
]  # fmt: skip
HOST = (b"host", b"shop.test:8443")


def scope(kind: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    scheme = "ws" if kind == "websocket" else "http"
    return {
        "type": kind, "scheme": scheme, "server": ("127.0.0.1", 5), "client": ("127.0.0.1", 6), "headers": [HOST, *headers]
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "scheme"), [("http", "https"), ("websocket", "wss")])
def test_the_line_is_believed(kind: str, scheme: str) -> None:
    found = scope(kind, *SAID, (b"x-tl-line", b"secret"))
    described(found, b"secret")
    assert (found["scheme"], found["server"]) == (scheme, ("shop.test", 8443))
    assert found["client"] == ("192.0.2.7", 0)
    assert found["headers"] == [HOST, *SAID]


@pytest.mark.parametrize("shown", [[], [(b"x-tl-line", b"guess")], [(b"x-tl-line", b"")]])
def test_nobody_else_is(shown: list[tuple[bytes, bytes]]) -> None:
    for proof in (b"secret", b""):
        found = scope("http", *SAID, *shown)
        described(found, proof)
        assert found == scope("http")


@pytest.mark.parametrize(
    ("host", "port", "server"),
    [(b"[::1]:8443", b"8443", ("::1", 8443)), (b"[::1]", b"443", ("::1", 443)), (b"shop.test", b"443", ("shop.test", 443))],
)  # fmt: skip
def test_where_the_client_asked(host: bytes, port: bytes, server: tuple[str, int]) -> None:
    found = scope(
        "http", (b"x-tl-line", b"s"), (b"x-forwarded-host", host), (b"x-forwarded-port", port),
        (b"x-forwarded-for", b"2001:db8::1"),
    )  # fmt: skip
    described(found, b"s")
    assert found["server"] == server and found["client"] == ("2001:db8::1", 0)


@pytest.mark.parametrize("shown", [[], [(b"x-tl-line", b"guess")], [(b"x-tl-line", b"")]])
def test_who_the_caller_is_says_the_line_alone(shown: list[tuple[bytes, bytes]]) -> None:
    said = [(b"x-tierline-claims", b"e30"), (b"x-tierline-subject", b"ada")]
    found = scope("http", *said, *shown)
    identified(found, b"secret")
    assert found == scope("http", *shown)
    found = scope("http", *said, (b"x-tl-line", b"secret"))
    identified(found, b"secret")
    assert [pair for pair in found["headers"] if pair in said] == said
