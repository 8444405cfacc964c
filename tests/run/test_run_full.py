"""Stores that are full: a cache forgets, sessions stay, and whoever needs to know is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import psutil
import pytest
import redis

from waiting import eventually
from workbench import Bench

STACK = """
from tierline import Cache, Service, Sessions, Stack
hot, session = Cache("hot", memory="8MiB"), Sessions("session", memory="8MiB")
baskets = Sessions("baskets", memory="8MiB")
one = Service("one", "one:app", uses=[hot, session, baskets], expose=["/"])
stack = Stack("full", services=[one], zones=["a"])
"""
APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})
"""
VALUE = os.urandom(4096)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("full"), STACK, {"one": APP})
    made.up()
    yield made
    made.close()


def client(line: Bench, name: str) -> redis.Redis:
    config = next(iter(line.state.glob("run/*/apps.json")))
    environment = json.loads(config.read_text())["apps"][0]["env"]
    return redis.Redis.from_url(environment[f"{name.upper()}_REDIS_URL"])


def test_a_cache_far_over_its_bound_costs_no_session(line: Bench) -> None:
    sessions, cache = client(line, "session"), client(line, "hot")
    for number in range(1000):
        sessions.set(f"session:{number}", b"ada", ex=3600)
    sessions.set("lock:orders", "held", nx=True, px=600_000)
    for start in range(0, 10_000, 100):  # 40 MB into 8
        with cache.pipeline(transaction=False) as all_of_them:
            for number in range(start, start + 100):
                all_of_them.set(f"page:{number}", VALUE, ex=3600)
            all_of_them.execute()
    assert 100 < cache.dbsize() < 2500, "it forgets the oldest, and no more than it must"
    assert cache.get("page:9999") == VALUE and cache.get("page:0") is None
    assert sessions.dbsize() == 1001
    assert all(sessions.mget(*(f"session:{number}" for number in range(1000))))
    assert sessions.info("stats")["evicted_keys"] == 0


def test_what_is_full_of_sessions_says_so_and_keeps_them(line: Bench) -> None:
    sessions = client(line, "session")
    written = 0
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        while True:
            sessions.set(f"large:{written}", VALUE, ex=3600)
            written += 1
    # Two resources share the server and its bound.
    assert written * len(VALUE) > 10 << 20
    assert all(sessions.exists(f"large:{number}") for number in range(written))
    told = eventually(lambda: line.process("valkey.sessions")["notice"])
    assert "of its 16 MiB are used" in told and "Sessions(memory=" in told
    filling = line.process("valkey.sessions")["filling"]
    assert filling["most"] == 16 << 20 and filling["used"] > 0.9 * filling["most"]
    assert [event["name"] for event in line.status()["events"] if event["what"] == "full"] == [
        "valkey.sessions"
    ]
    assert line.process("valkey")["filling"] is None, "a full cache is no news"
    sessions.delete(*(f"large:{number}" for number in range(written)))
    assert sessions.set("session:new", "ada", ex=60)


def test_two_servers_cost_little(line: Bench) -> None:
    line.down()
    line.up()
    pids = [line.process(name)["pid"] for name in ("valkey", "valkey.sessions")]
    sizes = [psutil.Process(pid).memory_full_info().uss >> 20 for pid in pids]
    assert client(line, "session").exists("session:1"), "sessions outlive the line"
    assert sum(sizes) < 32, sizes
