"""A service calls another by its name: in the same process, in another one, in another zone."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from waiting import eventually
from workbench import Bench

STACK = """
from tierline import *

catalog = Service("catalog", "catalog:app", expose=["/films"], scale=Scale(1, 3))
shop = Service("shop", "shop:app", uses=[catalog, Cache("hot")], expose=["/shop"])
lonely = Service("lonely", "lonely:app", expose=["/lonely"])
stack = Stack("calls", lb=LoadBalancer(), gateway=Gateway(), services=[shop, catalog, lonely], zones=["a", "b"])
"""

CATALOG = """
import asyncio, os, json

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"].endswith("/slow"):
        await asyncio.sleep(600)
    known = not scope["path"].endswith("/0")
    headers = {k.decode(): v.decode() for k, v in scope["headers"]}
    body = {"pid": os.getpid(), "path": scope["path"], "query": scope["query_string"].decode(),
            "trace": headers.get("traceparent", ""), "left": headers.get("x-request-deadline-ms", "")}
    await send({"type": "http.response.start", "status": 200 if known else 404, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
"""

SHOP = """
import json, os
from tierline.journeys import DeadlineExceeded, ServiceError
from tierline.resources import resource, service

catalog = service("catalog")
hot = resource("hot")

async def app(scope, receive, send):
    assert scope["type"] == "http"
    status = 200
    try:
        if scope["path"] == "/shop/slow":
            told = (await catalog.get("/films/{id}/slow", id=1)).json()
        elif scope["path"] == "/shop/missing":
            reply = await catalog.get("/films/{id}", id=0, allow=(404,))
            told = {"status": reply.status}
        elif scope["path"] == "/shop/hot":
            told = {"url": hot.url, "same": hot.url == hot["REDIS_URL"], "shown": repr(hot)}
        else:
            told = (await catalog.get("/films/{id}", id=7, limit=5)).json()
    except DeadlineExceeded:
        status, told = 504, {}
    except ServiceError as error:
        status, told = 502, {"why": str(error)}
    told["mine"] = os.getpid()
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""

LONELY = """
from tierline.resources import service
other = service("catalgo")

async def app(scope, receive, send):
    assert scope["type"] == "http"
    try:
        await other.get("/")
    except Exception as error:
        text = str(error)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""


def calling(bench: Callable[..., Bench], *words: str) -> tuple[Bench, str]:
    line = bench(STACK, catalog=CATALOG, shop=SHOP, lonely=LONELY)
    line.up(*words)
    return line, "http://" + line.status()["addresses"]["shop.a/http"]


@pytest.mark.parametrize("words", [(), ("--no-fusion",)], ids=["fused", "split"])
def test_the_same_line_of_code_calls_here_and_elsewhere(
    bench: Callable[..., Bench], words: tuple[str, ...]
) -> None:
    line, shop = calling(bench, *words)
    told = httpx.get(shop + "/shop").json()
    assert (told["path"], told["query"]) == ("/films/7", "limit=5")
    assert (told["pid"] == told["mine"]) is (not words)
    assert httpx.get(shop + "/shop/missing").json()["status"] == 404
    # What is left of the time, and the trace, travel along.
    trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"
    told = httpx.get(shop + "/shop", headers={"x-request-deadline-ms": "60000", "traceparent": trace}).json()
    assert 0 < int(told["left"]) <= 60001 and told["trace"].startswith("00-" + "ab" * 16)
    assert (
        httpx.get(shop + "/shop/slow", headers={"x-request-deadline-ms": "300"}, timeout=60).status_code
        == 504
    )
    hops = line.trip("/shop")["hops"]
    assert [(hop["tier"], hop["system"]) for hop in hops][-2:] == [
        ("feature", "shop"),
        ("feature", "catalog"),
    ]
    assert hops[-1]["verdict"] == ("answered" if words else "fused")
    hot = httpx.get(shop + "/shop/hot").json()
    assert hot["same"] and hot["url"].startswith("redis://") and "redis://" not in hot["shown"]
    lonely = "http://" + line.status()["addresses"]["lonely.a/http"]
    assert (
        "service('catalgo'): nobody told where it is; write uses=['catalgo']"
        in httpx.get(lonely + "/lonely").text
    )


def test_instances_come_and_go_and_zones_die_under_a_caller(bench: Callable[..., Bench]) -> None:
    line, shop = calling(bench, "--no-fusion")
    before = {p["name"]: p["pid"] for p in line.status()["processes"]}
    assert httpx.get(shop + "/shop").json()["pid"] == before["catalog.a"], "the nearest"
    from workbench import run

    assert run("scale", "catalog", "2", str(line.folder)).returncode == 0
    assert line.process("shop.a")["pid"] == before["shop.a"], "a caller is told, not restarted"
    assert eventually(lambda: len({httpx.get(shop + "/shop").json()["pid"] for _ in range(6)}) == 2)
    for name in ("catalog.a", "catalog.a-2"):
        assert run("kill", "process", name, str(line.folder)).returncode == 0
    answers = [httpx.get(shop + "/shop") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[-1].json()["pid"] != before["catalog.a"], "another zone answers"
