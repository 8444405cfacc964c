"""`tierline delay`: a part answers late, on new and on open connections; nobody fails when it begins or ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from waiting import eventually
from workbench import Bench, alive, of, run

Make = Callable[..., Bench]

LATE = """
from tierline import Cache, Gateway, LoadBalancer, Queue, Relational, Service, Stack

films, hot, work = Relational("films"), Cache("hot"), Queue("work")
other = Service("other", "other:app", fuse=False)
stack = Stack(
    "late",
    lb=LoadBalancer(),
    gateway=Gateway(),
    services=[Service("web", "web:app", uses=[films, hot, work, other], expose=["/"]), other],
    zones=["a"],
)
"""
OTHER = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"other"})
"""
WEB = '''
"""Asks what its path names over a connection that stays open, and tells how long that took."""
import json, os, time

POOLS = {}

async def films():
    import asyncpg
    if "films" not in POOLS:
        POOLS["films"] = await asyncpg.connect(os.environ["DATABASE_URL"], ssl=False)
        POOLS["query"] = await POOLS["films"].prepare("select 1")
    return POOLS["query"].fetchval

async def hot():
    import redis.asyncio
    if "hot" not in POOLS:
        POOLS["hot"] = redis.asyncio.from_url(os.environ["REDIS_URL"])
    return lambda: POOLS["hot"].ping()

async def work():
    import nats
    if "work" not in POOLS:
        POOLS["work"] = await nats.connect(os.environ["NATS_URL"])
    return lambda: POOLS["work"].jetstream().publish(os.environ["WORK_SUBJECT"], b"{}")

async def other():
    import httpx
    if "other" not in POOLS:
        POOLS["other"] = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(keepalive_expiry=60))
    return lambda: POOLS["other"].post(os.environ["OTHER_URL"])

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    took = 0
    name = scope["path"].strip("/")
    if name:
        ask = await globals()[name]()
        began = time.perf_counter()
        await ask()
        took = time.perf_counter() - began
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps({"took": took}).encode()})
'''


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("late"), LATE, {"web": WEB, "other": OTHER})
    made.up()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def client(line: Bench) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=line.status()["urls"]["http"], trust_env=False, timeout=60) as made:
        yield made


def delay(line: Bench, *words: str) -> str:
    done = run("delay", *words, str(line.folder))
    assert done.returncode == 0, done.stderr
    return done.stdout


def heal(line: Bench, name: str) -> None:
    done = run("heal", name, str(line.folder))
    assert done.returncode == 0, done.stderr


def took(client: httpx.Client, path: str, times: int = 5, method: str = "GET") -> float:
    """Seconds, the median."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        answer = client.request(method, path)
        found.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
    return median(found)


def detours(line: Bench) -> list[int]:
    """This line's, by their parent: other lines of this machine have theirs."""
    supervisor = line.status()["pid"]
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == supervisor and b"run/detour" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


@pytest.mark.parametrize("name", ["films", "hot", "work", "other"])
def test_what_a_service_uses_answers_late_over_the_connection_it_has(
    line: Bench, client: httpx.Client, name: str
) -> None:
    def asked() -> list[float]:
        return [client.get(f"/{name}").json()["took"] for _ in range(5)]

    asked()
    delay(line, name, "200ms")
    try:
        assert min(asked()) >= 0.19, "not one slips through"
        assert eventually(lambda: min(asked()) < 0.39), "once, not twice"
        told = [each["delay"] for each in line.status()["processes"] if each["delay"]]
        assert [each["seconds"] for each in told] == [0.2]
    finally:
        heal(line, name)
    assert eventually(lambda: min(asked()) < 0.19)
    assert not [each for each in line.status()["processes"] if each["delay"]]


@pytest.mark.parametrize("name", ["lb", "gateway", "web"])
def test_a_tier_answers_late_to_open_and_to_new_connections(
    line: Bench, client: httpx.Client, name: str
) -> None:
    took(client, "/", 10)
    assert "delay 150ms" in delay(line, name, "150ms")
    try:
        late = [took(client, "/", 1) for _ in range(8)]
        assert min(late) >= 0.14, "not one slips through, back to back over an open connection"
        assert eventually(lambda: took(client, "/", 1) < 0.29), "once, not twice"
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as fresh:
            assert took(fresh, "/", 1) >= 0.14
            assert eventually(lambda: took(fresh, "/", 1) < 0.29)
        assert "delayed by 150 ms" in line.run("status").stdout
    finally:
        heal(line, name)
    assert eventually(lambda: took(client, "/", 1) < 0.14)


def test_on_a_starved_machine_nothing_slips_through_either(line: Bench, client: httpx.Client) -> None:
    """Four loops that never sleep: whoever wants the processor waits for it."""
    took(client, "/", 10)
    client.get("/other")
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        delay(line, "other", "60ms")
        assert min(client.get("/other").json()["took"] for _ in range(25)) >= 0.055
        heal(line, "other")
        delay(line, "lb", "60ms")
        assert min(took(client, "/", 1) for _ in range(25)) >= 0.055
    finally:
        for each in loops:
            each.kill()
            each.wait()
        heal(line, "other")
        heal(line, "lb")


def test_telemetry_is_late_and_nobody_else_is(line: Bench, client: httpx.Client) -> None:
    address = line.status()["addresses"]["telemetry/otlp"]
    said = delay(line, "telemetry", "300ms")
    try:
        assert said.splitlines() == [
            f"delay 300ms: telemetry; until tierline heal telemetry {line.folder}",
            f"  telemetry/otlp {address}",
        ]
        began = time.perf_counter()
        httpx.get(f"http://{address}/", trust_env=False)
        assert time.perf_counter() - began >= 0.29
        assert eventually(lambda: took(client, "/", 1) < 0.29)
    finally:
        heal(line, "telemetry")


def test_jitter(line: Bench, client: httpx.Client) -> None:
    delay(line, "lb", "60ms", "--jitter", "40ms")
    try:
        seen = [took(client, "/", 1) for _ in range(25)]
    finally:
        heal(line, "lb")
    assert min(seen) > 0.018
    assert max(seen) - min(seen) > 0.03


def test_nothing_fails_when_it_begins_changes_and_ends(line: Bench) -> None:
    """Posts, which nobody tries again, from clients that keep their connections and from ones that don't."""
    url, stop, failed, counted = line.status()["urls"]["http"], threading.Event(), [], [0]

    def ask(keep: bool) -> None:
        client = httpx.Client(trust_env=False, timeout=60)
        while not stop.is_set():
            try:
                status: Any = client.post(url + "other").status_code
            except httpx.HTTPError as error:
                status = repr(error)
            counted[0] += 1
            if status != 200:
                failed.append(status)
            if not keep:
                client.close()
                client = httpx.Client(trust_env=False, timeout=60)
        client.close()

    threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        for name in ("web", "gateway", "other", "lb"):
            for time_ in ("30ms", "10ms"):
                delay(line, name, time_)
                before = counted[0]
                assert eventually(lambda: counted[0] > before + 20)  # noqa: B023
            heal(line, name)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []


def test_again_and_again_takes_one_process(line: Bench, client: httpx.Client) -> None:
    client.get("/other")
    delay(line, "other", "150ms")
    with httpx.Client(base_url=client.base_url, trust_env=False, timeout=60) as fresh:
        # Several at once need another connection: that one comes by way of the detour, and stays there.
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(fresh.get, ["/other"] * 8))
        first = set(detours(line))
        for _ in range(2):
            heal(line, "other")
            assert eventually(lambda: fresh.get("/other").json()["took"] < 0.14)
            delay(line, "other", "150ms")
            assert fresh.get("/other").json()["took"] > 0.14
        assert set(detours(line)) <= first
    heal(line, "other")


def test_it_outlives_a_crash_and_a_restart_of_the_part(line: Bench, client: httpx.Client) -> None:
    delay(line, "other", "200ms")
    try:
        before = line.process("other.a")
        os.kill(before["pid"], signal.SIGKILL)
        assert eventually(lambda: line.process("other.a")["pid"] not in (0, before["pid"]))

        def slow() -> bool:
            return (answer := client.get("/other")).status_code == 200 and answer.json()["took"] > 0.19

        assert eventually(slow)
        assert run("restart", "other", str(line.folder)).returncode == 0
        assert eventually(slow)
        assert line.process("other.a")["restarts"] == before["restarts"] + 1
    finally:
        heal(line, "other")
    assert eventually(lambda: client.get("/other").json()["took"] < 0.19)


def test_a_detour_that_dies_is_replaced_and_nobody_hangs(line: Bench, client: httpx.Client) -> None:
    client.get("/films")
    known = set(detours(line))
    delay(line, "films", "100ms")
    try:
        (mine,) = set(detours(line)) - known
        os.kill(mine, signal.SIGKILL)
        assert eventually(lambda: set(detours(line)) - known - {mine} != set())
        assert eventually(lambda: client.get("/films").json()["took"] > 0.09)
    finally:
        heal(line, "films")
    assert eventually(lambda: client.get("/films").json()["took"] < 0.09)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wbe", "200ms"], "web"),
        (["web", "soon"], "duration"),
        (["web", "2h"], "60s"),
        (["web", "10ms", "--jitter", "20ms"], "jitter"),
        (["web"], "how long? tierline delay web 200ms"),
    ],
)
def test_what_is_wrong_is_said(line: Bench, words: list[str], said: str) -> None:
    done = run("delay", *words, *([str(line.folder)] if len(words) > 1 else []))
    assert done.returncode == 2
    assert said in done.stderr


def test_watch_tells_what_users_noticed(line: Bench) -> None:
    done = run("delay", "gateway", "500ms", str(line.folder), "--watch", "--seconds", "6", "--rate", "40")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gateway delayed by 500ms: gateway.a; healed after ")
    assert "failed 0" in done.stdout
    assert "after it was healed, not before" in done.stdout
    rows = {row.split()[0]: row.split() for row in done.stdout.splitlines() if row.strip()}
    median = {name: float(rows[name][4]) for name in ("before", "while", "after")}
    assert median["while"] > 500 and median["while"] > max(median["before"], median["after"]), median
    assert not [each for each in line.status()["processes"] if each["delay"]]


def test_down_while_delayed_leaves_nothing(bench: Make) -> None:
    from workbench import HELLO, ONE

    made = bench(ONE, hello=HELLO)
    made.up()
    delay(made, "hello", "100ms")
    told, mine = made.status(), detours(made)
    assert mine
    os.kill(told["pid"], signal.SIGKILL)
    assert eventually(lambda: not any(map(alive, mine)) and not of(made.folder))
    made.up()
    delay(made, "hello", "100ms")
    mine = detours(made)
    made.down()
    assert eventually(lambda: not any(map(alive, mine)))
    assert made.left() == []
