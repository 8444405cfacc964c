"""A process that has a successor: answers finish within `drain`, WebSockets and event streams end in good order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

from waiting import PATIENCE
from workbench import Bench, run

Make = Callable[..., Bench]

APP = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                with open("closed", "a") as file:
                    file.write(f"{message.get('code')}\\n")
                return
            await send({"type": "websocket.send", "text": message["text"] + " " + str(os.getpid())})
    assert scope["type"] == "http"
    path = scope["path"]
    kind = b"text/event-stream" if "ticks" in path else b"text/plain"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    number = 0
    while "ticks" in path:
        await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % number, "more_body": True})
        number += 1
        await asyncio.sleep(0.1)
    if "slow" in path:
        await send({"type": "http.response.body", "body": b"begun by ", "more_body": True})
        await asyncio.sleep(float(path.rpartition("/")[2]))
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""

STACK = """
from tierline import LoadBalancer, Service, Stack

stack = Stack("drains", lb=LoadBalancer(), zones=["a"], services=[
    Service("quick", "quick:app", drain=DRAIN),
])
"""


def test_what_lasts_ends_in_good_order_and_what_is_answered_has_its_time(bench: Make) -> None:
    line = bench(STACK.replace("DRAIN", "'3s'"), quick=APP)
    line.up("--no-reload")
    at = line.status()["urls"]["http"].rstrip("/")

    name = next(each["name"] for each in line.status()["processes"] if "quick.a" in each["roles"])

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = {}
        begun = asyncio.Semaphore(0)
        async with aiohttp.ClientSession() as client:
            socket = await client.ws_connect(f"{at}/socket")
            await socket.send_str("one")
            found["before"] = (await socket.receive_str()).split()

            async def ticks() -> None:
                async with client.get(f"{at}/ticks") as answer:
                    begun.release()
                    found["ticks"] = (await answer.read()).decode()  # raises when it is cut off

            async def slow(seconds: float) -> None:
                async with client.get(f"{at}/slow/{seconds}") as answer:
                    begun.release()
                    found[seconds] = await answer.text()

            tasks = [asyncio.create_task(each) for each in (ticks(), slow(2), slow(300))]
            for _ in tasks:
                await begun.acquire()
            done = await asyncio.to_thread(run, "restart", name, str(line.folder))
            assert done.returncode == 0, done.stderr
            message = await asyncio.wait_for(socket.receive(), PATIENCE)
            found["closed"] = (message.type, message.data, message.extra)
            for _ in range(
                5
            ):  # a connection that the balancer had open may lead to the one before: come again
                async with client.ws_connect(f"{at}/socket") as again:
                    await again.send_str("two")
                    answer = await again.receive()
                    if answer.type == aiohttp.WSMsgType.TEXT:
                        found["after"] = answer.data.split()
                        break
                    assert answer.data == 1012, answer
            results = await asyncio.gather(*tasks, return_exceptions=True)
            found["cut"] = results[2]
            assert results[:2] == [None, None], results
        return found

    found = asyncio.run(look())
    assert found["closed"] == (aiohttp.WSMsgType.CLOSE, 1012, "this server restarts")
    assert found["before"][1] != found["after"][1], "the successor answers"
    assert found[2] == f"begun by {found['before'][1]}", "what was being answered is answered by who began it"
    # Ten a second: some of its three seconds were given to it.
    assert found["ticks"].endswith("\n\n") and found["ticks"].count("data") > 3, found["ticks"]
    assert isinstance(found["cut"], aiohttp.ClientError), "and half an answer isn't taken for a whole one"
    assert (line.folder / "closed").read_text().split()[0] in ("1012", "1005", "1006")
