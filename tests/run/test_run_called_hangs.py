"""An instance that journeys and services call hangs: it is called no more once that is seen, and again once it is well."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import httpx

from waiting import PATIENCE, eventually
from workbench import Bench

STACK = """
from tierline import *

stocks = Journey("stocks", "/stocks", deadline="80s")

@stocks.part
async def left(stock) -> str:
    return (await stock.get("/")).text

stack = Stack(
    "called", zones=["a", "b"], hang_after="60s", clients=[Web()], lb=LoadBalancer(), gateway=Gateway(timeout="90s"),
    journeys=[stocks], services=[
        Service("stock", "stock:app", fuse=False), Service("shop", "shop:app", uses=["stock"], expose=["/shop"]),
    ],
)
"""
STOCK = """
import os

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ["TIERLINE_ZONE"].encode()})
"""
SHOP = """
from tierline.resources import service

stock = service("stock", timeout=80)

async def app(scope, receive, send):
    assert scope["type"] == "http"
    reply = await stock.get("/")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": reply.body})
"""


def test_who_hangs_is_called_no_more(bench: Callable[..., Bench]) -> None:
    line = bench(STACK, stock=STOCK, shop=SHOP)
    line.up()
    with httpx.Client(base_url=line.status()["urls"]["http"], timeout=PATIENCE) as client:

        def answered() -> set[str]:
            journey = {client.get("/stocks").json()["left"] for _ in range(8)}
            return journey | {client.get("/shop").text for _ in range(8)}

        assert eventually(lambda: answered() == {"a"})
        pid = line.process("stock.a")["pid"]
        os.killpg(pid, signal.SIGSTOP)
        try:
            log = line.state / "logs/events.log"
            assert eventually(lambda: " left out stock.a:" in log.read_text())
            # Without a deadline of its own the part, and the service, would wait 80 s for who hangs.
            assert eventually(lambda: answered() == {"b"})
        finally:
            os.killpg(pid, signal.SIGCONT)
        assert eventually(lambda: answered() == {"a"})
