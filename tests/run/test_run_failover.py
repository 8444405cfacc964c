"""A database whose primary goes away: a replica leads within a second, and no acknowledged row is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from waiting import PATIENCE, becomes, eventually
from workbench import Bench, run

STACK = """
from tierline import Relational, Season, Service, Stack
ledger, other = Relational("ledger", schema="sql", replicas=1), Relational("other")
stack = Stack("ledger", services=[Service("one", "one:app", uses=[ledger, other], expose=["/"])], zones=["a", "b"],
              seasons=[Season("rush", min=1, warm_up=[ledger])])
"""
APP = """
import os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ["DATABASE_URL"].encode()})
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("ledger")
    (folder / "sql").mkdir()
    (folder / "sql" / "1.sql").write_text("create table entry (id int primary key);")
    made = Bench(folder, STACK, {"one": APP})
    made.up()
    yield made
    made.close()


class Writer:
    """Inserts numbers one after the other, and remembers which were acknowledged, and when."""

    def __init__(self, url: str, first: int) -> None:
        self.url = url
        self.next = first
        self.acknowledged: set[int] = set()

    async def run(self) -> None:
        connection: Any = None
        while True:
            try:
                connection = connection or await asyncpg.connect(self.url, timeout=5)
                await connection.execute("insert into entry values ($1)", self.next, timeout=5)
                self.acknowledged.add(self.next)
                await asyncio.sleep(0.002)  # slow: the pace of a client
            except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                if connection is not None:
                    connection.terminate()
                connection = None
                await asyncio.sleep(0.01)  # slow: the pace of a client
            self.next += 1

    async def more(self, rows: int = 30) -> None:
        """Wait until so many more are acknowledged."""
        before = len(self.acknowledged)
        assert await becomes(lambda: len(self.acknowledged) >= before + rows), "nobody takes writes"


@contextlib.asynccontextmanager
async def writing(line: Bench, first: int) -> AsyncIterator[Writer]:
    writer = Writer(url(line), first)
    task = asyncio.create_task(writer.run())
    yield writer
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def url(line: Bench, variable: str = "DATABASE_URL") -> str:
    """What the service's environment says."""
    config = next(iter(line.state.glob("run/*/apps.json")))
    found: str = json.loads(config.read_text())["apps"][0]["env"][variable]
    return found


async def rows(line: Bench) -> set[int]:
    async def connected() -> Any:
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # it recovers
            return await asyncpg.connect(url(line), timeout=PATIENCE)

    connection = await becomes(connected)
    try:
        return {row["id"] for row in await connection.fetch("select id from entry")}
    finally:
        await connection.close()


async def command(*words: str) -> None:
    done = await asyncio.to_thread(run, *words)
    assert done.returncode == 0, done.stderr


async def together(line: Bench) -> None:
    """Wait until a follower has everything, and confirms what is written."""

    def follows() -> bool:
        return bool(line.status()["clusters"][0]["synchronous"])

    assert await asyncio.to_thread(eventually, follows), "nobody follows"


def leader(line: Bench) -> str:
    marker = line.state / "data" / "postgresql" / "leader"
    return marker.read_text().strip() if marker.exists() else "postgresql"


def test_a_killed_primary_is_replaced_and_nothing_acknowledged_is_lost(line: Bench) -> None:
    async def both_ways() -> None:
        for number, zone in enumerate(("a", "b"), 1):
            await together(line)
            before = leader(line)
            async with writing(line, number * 100_000) as writer:
                await writer.more()
                await command("kill", "zone", zone, str(line.folder))
                await writer.more()
            assert leader(line) != before
            assert set(writer.acknowledged) <= await rows(line)
            await command("heal", "zone", zone, str(line.folder))

    asyncio.run(both_ways())
    events = [event for event in line.status()["events"] if event["what"] == "failover"]
    assert len(events) == 2 and "took over within" in events[0]["text"]


def test_a_silent_primary_is_ended_and_replaced(line: Bench) -> None:
    async def hang() -> None:
        await together(line)
        before = leader(line)
        async with writing(line, 300_000) as writer:
            await writer.more()
            os.killpg(line.process(before)["pid"], signal.SIGSTOP)
            assert await becomes(lambda: leader(line) != before)
            await writer.more()
        assert set(writer.acknowledged) <= await rows(line)
        # It wasn't killed on purpose: it comes back by itself, and follows.
        await together(line)

    asyncio.run(hang())


def test_a_crash_of_the_primary_is_no_failover(line: Bench) -> None:
    async def crash() -> None:
        await together(line)
        before = leader(line)
        async with writing(line, 400_000) as writer:
            await writer.more()
            os.kill(line.process(before)["pid"], signal.SIGKILL)
            await writer.more()
        assert leader(line) == before
        assert set(writer.acknowledged) <= await rows(line)

    asyncio.run(crash())


def test_without_a_replica_the_primary_goes_on_alone(line: Bench) -> None:
    async def alone() -> None:
        await together(line)
        follower = {"postgresql": "postgresql.replica-1"}.get(leader(line), "postgresql")
        async with writing(line, 500_000) as writer:
            await writer.more()
            await command("kill", "process", follower, str(line.folder))
            await writer.more(100)
        await command("heal", "process", follower, str(line.folder))

    asyncio.run(alone())


def test_a_database_is_warmed_where_it_runs_and_who_leads_goes_first(line: Bench) -> None:
    asyncio.run(together(line))
    lost = next(zone for zone in "ab" if line.process(leader(line))["zone"] == zone)
    assert run("kill", "zone", lost, str(line.folder)).returncode == 0
    done = run("season", "rush", "start", str(line.folder))
    assert done.returncode == 0, done.stdout
    assert "pages of" in done.stdout and "is killed, not warmed" in done.stdout, done.stdout
    assert run("season", "rush", "end", str(line.folder)).returncode == 0
    other = "b" if lost == "a" else "a"
    assert run("kill", "zone", other, str(line.folder)).returncode == 0
    done = run("season", "rush", "start", str(line.folder))
    assert done.returncode == 1, "nothing runs that could be warmed"
    assert "✗ Relational ledger" in done.stdout and "pages of" not in done.stdout
    assert run("season", "rush", "end", str(line.folder)).returncode == 0
    for zone in (other, lost):
        assert run("heal", "zone", zone, str(line.folder)).returncode == 0
    asyncio.run(together(line))


def test_who_leads_outlives_the_line(line: Bench) -> None:
    before, there = leader(line), asyncio.run(rows(line))
    line.down()
    line.up()
    assert leader(line) == before
    assert asyncio.run(rows(line)) == there


def test_a_second_database_of_the_server_goes_on_with_it(line: Bench) -> None:
    async def asked() -> bool:
        connection = await asyncpg.connect(url(line, "OTHER_DATABASE_URL"), timeout=30)
        try:
            return bool(await connection.fetchval("select pg_is_in_recovery()"))
        finally:
            await connection.close()

    assert url(line, "OTHER_DATABASE_URL").count("127.0.0.1:") == 2
    assert asyncio.run(asked()) is False


def test_who_followed_takes_writes_when_it_is_the_only_one_left(line: Bench) -> None:
    async def other_leads() -> None:
        await together(line)
        if leader(line) == "postgresql":
            await command("kill", "zone", "a", str(line.folder))
            assert await becomes(lambda: leader(line) != "postgresql")
            await command("heal", "zone", "a", str(line.folder))
            await together(line)

    asyncio.run(other_leads())
    there = asyncio.run(rows(line))
    line.down()
    stack = STACK.replace(", replicas=1", "").replace('["a", "b"]', '["a"]')
    (line.folder / "stack.py").write_text(stack)
    line.up()

    async def write_one() -> None:
        connection = await asyncpg.connect(url(line), timeout=30)
        try:
            await connection.execute("insert into entry values (-1)")
        finally:
            await connection.close()

    asyncio.run(write_one())
    assert asyncio.run(rows(line)) == there | {-1}
