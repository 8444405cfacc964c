"""Clients that leave, hundreds of them: what their parts held of pools of connections is given back."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from waiting import eventually
from workbench import Bench

Make = Callable[..., Bench]

POOLS = """
import asyncio, json, os, random
import asyncpg, httpx

class Pools:
    def __init__(self, url):
        self.url = url
        self.database = None
        self.client = httpx.AsyncClient(limits=httpx.Limits(max_connections=4), timeout=60)
        self.making = asyncio.Lock()

    async def row(self):
        async with self.making:
            if self.database is None:
                self.database = await asyncpg.create_pool(self.url, min_size=0, max_size=4)
        async with self.database.acquire() as connection, connection.transaction():
            return await connection.fetchval("select 7 from pg_sleep($1)", random.random() / 10)

    async def reply(self, url):
        return (await self.client.get(f"{url}/nap/{random.random() / 10:.3f}")).text

    def held(self):
        pool = self.client._transport._pool
        return {
            "database": self.database.get_size() - self.database.get_idle_size() if self.database else 0,
            "http": sum(not each.is_idle() and not each.is_closed() for each in pool.connections),
            "waiting": len(pool._requests),
        }
"""

HOLDER = """
import os
from pools import *

pools = None

async def app(scope, receive, send):
    global pools
    assert scope["type"] == "http"
    pools = pools or Pools(os.environ["DATABASE_URL"])
    path = scope["path"]
    found = pools.held()
    if path == "/row":
        found = await pools.row()
    elif path == "/reply":
        found = await pools.reply(os.environ["NAPS_URL"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(found).encode()})
"""

NAPS = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(float(scope["path"].rpartition("/")[2]) if "nap" in scope["path"] else 0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"rested"})
"""

STACK = """
import os
from pools import Pools
from tierline import *

mixed = Journey("mixed", "/mixed")
mine = None

def pools():
    global mine
    mine = mine or Pools(os.environ["DATABASE_URL"])
    return mine

@mixed.part
async def own():
    return await pools().row()

@mixed.part(hedge="20ms", retries=1)
async def hedged():
    return await pools().row()

@mixed.part(deadline="60ms", fallback=None)
async def late():
    return await pools().reply(os.environ["NAPS_URL"])

@mixed.part
async def row(holder):
    return (await holder.get("/row")).json()

@mixed.part
async def reply(holder):
    return (await holder.get("/reply")).json()

held = Journey("held", "/held")

@held.part
def here():
    return pools().held()

@held.part
async def there(holder):
    return (await holder.get("/held")).json()

naps = Service("naps", "naps:app", fuse=False)
holder = Service("holder", "holder:app", uses=[Relational("films"), naps])
stack = Stack("pooled", gateway=Gateway(), zones=["a"], journeys=[mixed, held], services=[holder, naps])
"""


def test_parts_of_clients_that_leave_give_their_connections_back(bench: Make) -> None:
    line = bench(STACK, pools=POOLS, holder=HOLDER, naps=NAPS)
    line.up("--no-reload")
    at = line.status()["urls"]["http"].rstrip("/")
    host, _, port = at.partition("://")[2].rpartition(":")
    assert httpx.get(f"{at}/mixed", timeout=60).status_code == 200

    def leave(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(50):
            with socket.create_connection((host, int(port))) as client:
                client.sendall(b"GET /mixed HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(chance.random() / 10)  # slow: each leaves at another moment

    threads = [threading.Thread(target=leave, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def free() -> Any:
        told = httpx.get(f"{at}/held", timeout=60).json()
        return all(not many for pool in told.values() for many in pool.values()) and told

    assert eventually(free), httpx.get(f"{at}/held", timeout=60).text
    # Nobody waits for a connection that isn't there.
    answers = [httpx.get(f"{at}/mixed", timeout=60) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
