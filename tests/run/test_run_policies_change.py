"""Policies of every kind come, change and go while clients ask, and no request fails; a stream goes on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from waiting import PATIENCE, eventually
from workbench import Bench

STACK = """
from tierline import JWT, MTLS, OIDC, APIKeys, Access, Gateway, RateLimit, Route, Service, Stack

stack = Stack(
    "changing",
    gateway=Gateway({more}),
    services=[Service("hello", "hello:app", expose=["/"])],
    zones=["a"],
)
"""
HELLO = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    left = asyncio.ensure_future(receive())
    while scope["path"] == "/stream" and not left.done():
        await send({"type": "http.response.body", "body": b"piece\\n", "more_body": True})
        await asyncio.wait([left], timeout=0.2)
    await send({"type": "http.response.body", "body": b"hello"})
"""
CHANGES = (
    'openapi="/openapi.json"',
    'mtls=MTLS(consumers={"acme": "acme"}, paths=["/partners"])',
    'mtls=MTLS(consumers={"acme": "acme", "globex": "globex"}, paths=["/partners"])',
    'auth=JWT(issuer="i", audience="us", paths=["/private"])',
    'auth=JWT(issuer="j", audience="us", paths=["/private"], algorithms=["ES256"])',
    'routes=[Route("/shaped", to="hello", request_body={"a": "{b}"})]',
    'routes=[Route("/shaped", to="hello", request_body={"a": "{c}"})]',
    'limits=[RateLimit(5, paths=["/limited"])], keys=APIKeys(consumers={"ann": ""}, paths=["/keyed"])',
    'login=OIDC(paths=["/account"])',
    "",
)


@pytest.mark.parametrize("system", ["envoy", "haproxy"])
def test_no_request_fails_while_policies_change(bench: Callable[..., Bench], system: str) -> None:
    line = bench(STACK.replace("{more}", ""), hello=HELLO)
    line.up("--use", f"gateway={system}")
    url = line.status()["urls"]["http"] + "open"
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            while not stop.is_set():
                try:
                    seen[str(client.get(url).status_code)] += 1
                except httpx.HTTPError as error:
                    seen[repr(error)] += 1
                time.sleep(0.01)  # slow: the pace of a client

    pieces: list[str] = []

    def listen() -> None:
        try:
            with httpx.stream(
                "GET", url.replace("open", "stream"), trust_env=False, timeout=PATIENCE
            ) as stream:
                for piece in stream.iter_lines():
                    pieces.append(piece)
                    if stop.is_set():
                        return
        except httpx.HTTPError as error:
            seen[f"stream: {error!r}"] += 1

    clients = [*(threading.Thread(target=ask) for _ in range(4)), threading.Thread(target=listen)]
    for client in clients:
        client.start()
    try:
        for more in CHANGES:
            (line.folder / "stack.py").write_text(STACK.replace("{more}", more))
            done = line.run("reload")
            assert done.returncode == 0, (more, done.stderr)
        came = len(pieces)
        assert eventually(lambda: len(pieces) > came + 1), (came, seen)
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert set(seen) == {"200"}, seen
    assert seen["200"] > 20
