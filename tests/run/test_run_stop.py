"""Down, while a request is on its way: it is answered, whatever stands in front; and down is quick."""

from __future__ import annotations

import threading
from collections.abc import Callable

import httpx
import pytest

from waiting import PATIENCE, eventually
from workbench import Bench

SLOW = """
import asyncio, os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        with open("under-way", "a") as file:
            file.write("x")
        while not os.path.exists("go"):
            await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": b"answered"})
"""


@pytest.mark.parametrize(
    "tiers",
    [
        "",
        "gateway=Gateway()",
        "cache=HTTPCache(), gateway=Gateway()",
        "lb=LoadBalancer(), gateway=Gateway()",
        "dns=DNS('shop.test'), cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(), gateway=Gateway()",
    ],
    ids=["service", "gateway", "cache", "lb", "whole"],
)
def test_what_is_under_way_is_answered_before_the_line_ends(bench: Callable[..., Bench], tiers: str) -> None:
    line = bench(
        f"from tierline import *\n"
        f"stack = Stack('slow', {tiers}{',' if tiers else ''} zones=['a', 'b'],\n"
        f"              services=[Service('slow', 'slow:app', expose=['/'], uses=[Sessions('kept')])])\n",
        slow=SLOW,
    )
    line.up()
    status = line.status()
    url = status["urls"].get("http") or f"http://{status['addresses']['slow.a/http']}"
    headers = {"host": status["domain"]}
    answers: list[httpx.Response] = []

    def ask() -> None:
        # Idle connections are kept open beside, as browsers do.
        with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as client:
            client.get("/quick")
            answers.append(client.get("/slow"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as idle:
        assert idle.get("/quick").status_code == 200
        under_way = line.folder / "under-way"
        assert eventually(lambda: under_way.exists() and len(under_way.read_text()) == 3)
        threading.Timer(0.6, (line.folder / "go").touch).start()
        line.down()
    for thread in threads:
        thread.join()
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "answered")] * 3
    assert line.left() == []
