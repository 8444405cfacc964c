"""All five applications on one event loop, as a fused process runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from plain import CINEMA

from ports import free_port

pytestmark = pytest.mark.real

MOST_MEMORY = 110
"""Megabytes of resident memory for all five, with their connections open."""

PROGRAM = """
import asyncio, json, os, sys, time
began = time.perf_counter()
environments = json.loads(sys.argv[1])
applications = {}
for name, environment in environments.items():
    os.environ.update(environment)
    applications[name] = __import__(f"cinema.{name}", fromlist=["app"]).app
    for variable in environment:
        del os.environ[variable]
imported = time.perf_counter() - began
import httpx, psutil

async def main():
    from contextlib import AsyncExitStack
    async with AsyncExitStack() as stack:
        clients = {}
        for name, app in applications.items():
            await stack.enter_async_context(app.router.lifespan_context(app))
            clients[name] = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cinema.test")
        ready = time.perf_counter() - began
        async def ask(name, path):
            answer = await clients[name].get(path)
            assert answer.status_code == 200, (name, path, answer.text)
        for _ in range(50):
            await asyncio.gather(
                *(ask(name, "/health") for name in clients),
                ask("catalog", "/films/20545"),
                ask("catalog", "/top"),
                ask("catalog", "/films?q=star"),
                ask("ratings", "/ratings/1"),
                ask("posters", "/posters/20545.svg"),
            )
        memory = psutil.Process().memory_info().rss / 1e6
        print(json.dumps({"imported": imported, "ready": ready, "memory": memory}))

asyncio.run(main())
"""


def test_five_applications_share_a_process(
    films: str, accounts: str, valkey: str, nats_url: str, bucket: dict[str, str]
) -> None:
    environments = {
        "catalog": {"DATABASE_READ_URL": films, "REDIS_URL": valkey},
        "members": {"DATABASE_URL": accounts, "SESSION_REDIS_URL": valkey},
        "ratings": {"DATABASE_URL": accounts, "REDIS_URL": valkey, "NATS_URL": nats_url},
        "orders": {
            "DATABASE_URL": accounts,
            "NATS_URL": nats_url,
            "ORDERS_SUBJECT": "together",
            "SMTP_URL": f"smtp://127.0.0.1:{free_port()}",
        },
        "posters": {**bucket, "DATABASE_READ_URL": films},
    }
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), json.dumps(environments)],
        cwd=CINEMA, env={"PYTHONPATH": str(CINEMA)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-3000:]
    measured = json.loads(told.stdout)
    print(measured)
    assert measured["memory"] < MOST_MEMORY


def test_nothing_of_tierline_is_imported() -> None:
    names = "cinema.catalog, cinema.members, cinema.ratings, cinema.orders, cinema.posters, cinema.load"
    program = f"import sys, {names}; print([name for name in sys.modules if name.startswith('tierline')])"
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=CINEMA, env={}, capture_output=True, text=True,
    )  # fmt: skip
    assert told.stdout.strip() == "[]", told
