"""A running line fetches an issuer's keys again by itself, whatever its gateway's engine needs for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from waiting import eventually
from workbench import Bench

STACK = """
from tierline import JWT, Gateway, Service, Stack

stack = Stack(
    "keys",
    gateway=Gateway(auth=JWT(issuer="i", audience="us", paths=["/private"], jwks="http://127.0.0.1:%d/k", refresh="1s")),
    services=[Service("echo", "app:app", expose=["/"])],
    zones=["a"],
)
"""
APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.mark.parametrize("system", ["envoy", "haproxy"])
def test_new_keys_of_the_issuer_are_taken_and_old_ones_dropped(
    bench: Callable[..., Bench], system: str
) -> None:
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("one", "two")}
    given = ["one"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = [
                {
                    **json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(keys[name].public_key())),
                    "kid": name,
                }
                for name in given
            ]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": listed}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    line = bench(STACK % server.server_address[1], **{"app.py": APP})
    try:
        line.up("--use", f"gateway={system}")
        url = line.status()["urls"]["http"] + "private"

        def status(name: str) -> int:
            body = {"iss": "i", "aud": "us", "sub": "u", "exp": int(time.time()) + 600}
            signed = jwt.encode(body, keys[name], "ES256", headers={"kid": name})
            return httpx.get(
                url, headers={"authorization": f"Bearer {signed}"}, trust_env=False, timeout=60
            ).status_code

        assert (status("one"), status("two")) == (200, 401)
        given[:] = ["two"]
        assert eventually(lambda: (status("one"), status("two")) == (401, 200))
    finally:
        server.shutdown()
        server.server_close()
