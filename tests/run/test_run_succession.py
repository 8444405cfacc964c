"""The line gets smaller while a replica leads: its data goes on leading, and no acknowledged row is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tierline.engines.postgresql import inherit
from waiting import PATIENCE, becomes, eventually
from workbench import Bench, run

APP = """
import os
import asyncpg
async def app(scope, receive, send):
    assert scope["type"] == "http"
    connection = await asyncpg.connect(os.environ["DATABASE_READ_URL" if "read" in scope["path"] else "DATABASE_URL"])
    found = await connection.fetchval("select count(*) from entry")
    await connection.close()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(found).encode()})
"""
_numbers = itertools.count()


def stack(replicas: int, zones: str = '["a", "b"]') -> str:
    return f"""
from tierline import Relational, Service, Stack
ledger, other = Relational("ledger", schema="sql", replicas={replicas}), Relational("other", schema="sql")
stack = Stack("ledger", services=[Service("one", "one:app", uses=[ledger, other], expose=["/"])], zones={zones})
"""


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "1.sql").write_text("create table entry (id int primary key);")
    made = Bench(tmp_path, stack(1), {"one": APP})
    yield made
    made.close()


def resize(line: Bench, replicas: int, zones: str = '["a", "b"]') -> None:
    (line.folder / "stack.py").write_text(stack(replicas, zones))


def url(line: Bench, variable: str) -> str:
    config = next(iter(line.state.glob("run/*/apps.json")))
    found: str = json.loads(config.read_text())["apps"][0]["env"][variable]
    return found


async def _connected(address: str) -> asyncpg.Connection:
    async def connected() -> asyncpg.Connection | None:
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            return await asyncpg.connect(address, timeout=60)
        return None

    connection: asyncpg.Connection = await becomes(connected)
    assert connection, "nobody takes writes"
    return connection


def write(line: Bench, number: int = 100, variable: str = "DATABASE_URL") -> set[int]:
    """Rows that were acknowledged."""

    async def some() -> set[int]:
        connection = await _connected(url(line, variable))
        acknowledged = set()
        for each in itertools.islice(_numbers, number):
            await connection.execute("insert into entry values ($1)", each, timeout=PATIENCE)
            acknowledged.add(each)
        await connection.close()
        return acknowledged

    return asyncio.run(some())


def rows(line: Bench, variable: str = "DATABASE_URL") -> set[int]:
    async def all_of_them() -> set[int]:
        connection = await _connected(url(line, variable))
        found = {row["id"] for row in await connection.fetch("select id from entry")}
        await connection.close()
        return found

    return asyncio.run(all_of_them())


class Writer(threading.Thread):
    """Writes all the time, and knows what was acknowledged."""

    def __init__(self, line: Bench) -> None:
        super().__init__()
        self.line, self.ends = line, threading.Event()
        self.acknowledged: set[int] = set()

    def run(self) -> None:
        asyncio.run(self._write())

    async def _write(self) -> None:
        connection = None
        while not self.ends.is_set():
            each = next(_numbers)
            try:
                connection = connection or await asyncpg.connect(url(self.line, "DATABASE_URL"), timeout=5)
                await connection.execute("insert into entry values ($1)", each, timeout=5)
                self.acknowledged.add(each)
            except (
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
                OSError,
                TimeoutError,
            ):
                if connection is not None:
                    connection.terminate()
                connection = None
            await asyncio.sleep(0.005)  # slow: the pace of a client

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.join()


def cluster(line: Bench) -> dict[str, Any]:
    """Once the line knows of it: a change may just have brought it."""
    (told,) = eventually(lambda: line.status()["clusters"])
    return dict(told)


def together(line: Bench) -> None:
    assert eventually(lambda: cluster(line)["synchronous"]), cluster(line)


def replica_leads(line: Bench, *, heal: bool, what: tuple[str, str] = ("zone", "a")) -> None:
    """A zone is lost and its primary with it. heal: it comes back, and follows."""
    together(line)
    assert run("kill", *what, str(line.folder)).returncode == 0
    assert eventually(
        lambda: cluster(line)["leader"] == "postgresql.replica-1" and cluster(line)["leads"], 20
    )
    if heal:
        assert run("heal", *what, str(line.folder)).returncode == 0
        together(line)


def aside(line: Bench) -> list[Path]:
    return sorted((line.state / "data" / "postgresql").glob("superseded-*"))


def test_a_smaller_line_goes_on_with_the_data_that_led_and_grows_again(line: Bench) -> None:
    line.up()
    acknowledged = write(line)
    replica_leads(line, heal=False)
    # None of it is in the primary's own data.
    acknowledged |= write(line)
    others = write(line, variable="OTHER_DATABASE_URL")
    line.down()
    resize(line, 0, '["a"]')
    told = line.up().stdout
    assert "postgresql.replica-1 led and isn't part of the line any more" in told and "rm -r " in told, told
    assert rows(line) == acknowledged and rows(line, "OTHER_DATABASE_URL") == others
    assert len(aside(line)) == 1 and (aside(line)[0] / "PG_VERSION").is_file()
    acknowledged |= write(line)
    assert "note" not in {event["what"] for event in (line.down(), line.up(), line.status())[2]["events"]}
    line.down()
    resize(line, 1)
    line.up()
    together(line)
    acknowledged |= write(line)
    replica_leads(line, heal=False)
    assert rows(line) == acknowledged and rows(line, "OTHER_DATABASE_URL") == others


def test_a_reload_that_takes_the_leader_away_hands_over(line: Bench) -> None:
    line.up()
    replica_leads(line, heal=True)
    resize(line, 0, '["a"]')
    with Writer(line) as writer:
        assert eventually(lambda: len(writer.acknowledged) > 20)
        done = line.run("reload")
        assert done.returncode == 0, done.stderr
        so_far = len(writer.acknowledged)
        # Nobody waits for a follower that isn't there any more.
        assert eventually(lambda: len(writer.acknowledged) > so_far + 20)
    assert writer.acknowledged <= rows(line)
    told = line.status()
    assert told["clusters"] == [] and "handover" in {event["what"] for event in told["events"]}
    assert "postgresql.replica-1" not in {process["name"] for process in told["processes"]}
    assert aside(line) == []
    line.down()
    line.up()
    assert writer.acknowledged <= rows(line)


def test_replicas_and_databases_come_and_go_beside_a_primary_that_runs(line: Bench) -> None:
    (line.folder / "stack.py").write_text(stack(0).replace("uses=[ledger, other]", "uses=[ledger]"))
    line.up()
    before = url(line, "DATABASE_URL")
    resize(line, 0)
    assert line.run("reload").returncode == 0
    assert write(line, 10, "OTHER_DATABASE_URL") == rows(line, "OTHER_DATABASE_URL")
    pid = line.process("postgresql")["pid"]
    with Writer(line) as writer:
        for replicas in (1, 2, 0, 1):
            resize(line, replicas)
            done = line.run("reload")
            assert done.returncode == 0, done.stderr
            if replicas:
                together(line)
            assert len(line.status()["clusters"]) == min(replicas, 1)
            so_far = len(writer.acknowledged)
            assert eventually(lambda: len(writer.acknowledged) > so_far + 20), replicas  # noqa: B023
    assert writer.acknowledged <= rows(line)
    assert line.process("postgresql")["pid"] == pid, "it isn't started anew for that"
    assert url(line, "DATABASE_URL").partition(",")[0] == before.rpartition("/ledger")[0], (
        "its address is the same"
    )


RENAMED = """
import os
import asyncpg
async def app(scope, receive, send):
    if scope["type"] == "lifespan":  # a pool that is opened at the start needs the database then
        while (message := await receive())["type"] == "lifespan.startup":
            connection = await asyncpg.connect(os.environ["DATABASE_URL"])
            await connection.execute("select from entry")
            await connection.close()
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ["DATABASE_URL"].rpartition("@")[2].encode()})
"""


@pytest.mark.parametrize("leads", ["the primary", "a replica"])
def test_a_database_of_a_running_line_is_renamed(line: Bench, leads: str) -> None:
    (line.folder / "one.py").write_text(RENAMED)
    line.up()

    def together() -> bool:
        clusters = line.status()["clusters"]
        return bool(clusters) and clusters[0]["synchronous"]

    assert eventually(together)
    if leads == "a replica":
        assert run("kill", "process", "postgresql", str(line.folder)).returncode == 0
        assert eventually(lambda: line.status()["clusters"][0]["leader"] == "postgresql.replica-1")
        assert run("heal", "process", "postgresql", str(line.folder)).returncode == 0
        assert eventually(together)
    before = httpx.get(line.status()["urls"]["http"]).text
    (line.folder / "stack.py").write_text(stack(1).replace('"ledger", schema', '"ledgers", schema'))
    done = line.run("reload")
    assert done.returncode == 0, done.stderr
    after = httpx.get(line.status()["urls"]["http"]).text
    assert before.partition("/")[2].startswith("ledger?") and after.partition("/")[2].startswith("ledgers?")
    assert before.partition("/")[0] == after.partition("/")[0], "the server stays where it is"


def test_a_reload_that_nobody_could_follow_is_refused(line: Bench) -> None:
    line.up()
    replica_leads(line, heal=False)
    acknowledged = write(line)
    resize(line, 0, '["a"]')
    done = line.run("reload")
    assert done.returncode != 0
    assert "postgresql.replica-1 leads and isn't part of the changed line" in done.stderr
    assert "postgresql is killed" in done.stderr and "Nothing was changed" in done.stderr
    acknowledged |= write(line)
    assert run("heal", "zone", "a", str(line.folder)).returncode == 0
    together(line)
    done = line.run("reload")
    assert done.returncode == 0, done.stderr
    acknowledged |= write(line)
    assert rows(line) == acknowledged


def test_who_leads_and_who_follows_is_told(line: Bench) -> None:
    line.up()
    together(line)
    told = cluster(line)
    assert told["leader"] == "postgresql" and told["leads"] and told["synchronous"]
    (follower,) = told["followers"]
    assert follower["name"] == "postgresql.replica-1" and follower["state"] == "follows"
    assert follower["behind_bytes"] < 1 << 20 and follower["behind_ms"] < 5000
    assert "postgresql leads; each write is confirmed by a follower" in line.run("status").stdout
    assert _database(line, "/") == "primary, leads"
    assert _database(line, "/read") == "replica-1, follows"
    replica_leads(line, heal=False, what=("process", "postgresql"))
    shown = line.run("status").stdout
    assert "postgresql.replica-1 leads; no follower confirms writes" in shown
    assert re.search(r"^ {4}postgresql +away$", shown, re.MULTILINE)
    assert _database(line, "/") == "replica-1, leads"
    assert run("heal", "process", "postgresql", str(line.folder)).returncode == 0
    together(line)
    assert _database(line, "/read") == "primary, follows"
    page = httpx.get(line.status()["urls"]["status"]).text
    assert re.search(
        r"<tr><td>postgresql.replica-1<td class='ready'>leads<td>confirmed by a follower", page
    ), page
    assert re.search(r"<tr><td>postgresql<td class='ready'>follows<td><td class=n>\d+", page), page


def _database(line: Bench, path: str) -> str:
    """What the trip says of the hop at the database."""
    hops = line.trip(path)["hops"]
    return str(next(hop["verdict"] for hop in hops if hop["tier"] == "domain"))


def test_a_zone_with_a_replica_in_it_is_lost_and_no_row_with_it(line: Bench) -> None:
    """Two of three are lost at once: a row counts when one in another zone has it."""
    resize(line, 2)
    line.up()
    together(line)
    with Writer(line) as writer:
        assert eventually(lambda: len(writer.acknowledged) > 100)
        assert run("kill", "zone", "a", str(line.folder)).returncode == 0
        assert eventually(lambda: cluster(line)["leader"] == "postgresql.replica-1")
        so_far = len(writer.acknowledged)
        assert eventually(lambda: len(writer.acknowledged) > so_far + 20)
    assert writer.acknowledged <= rows(line)


def test_why_nobody_takes_over_is_told(line: Bench) -> None:
    line.up()
    together(line)
    for name in ("postgresql.replica-1", "postgresql"):
        assert run("kill", "process", name, str(line.folder)).returncode == 0
        assert eventually(lambda name=name: line.process(name)["phase"] == "killed")
        assert eventually(lambda: not cluster(line)["synchronous"])

    def told() -> list[str]:
        return [event["text"] for event in line.status()["events"] if event["what"] == "failover"]

    assert eventually(told) == ["nobody takes over: no follower had everything when the leader was lost"]
    assert "postgresql leads, but doesn't answer; no follower confirms writes" in line.run("status").stdout
    # The replica alone may lack what the primary went on with: it waits.
    assert run("heal", "process", "postgresql.replica-1", str(line.folder)).returncode == 0
    assert eventually(
        lambda: line.process("postgresql.replica-1")["phase"] in ("ready", "preparing", "starting"), 10
    )
    assert cluster(line)["leader"] == "postgresql" and len(told()) == 1
    assert run("heal", "process", "postgresql", str(line.folder)).returncode == 0
    together(line)


def test_who_was_away_for_long_is_made_anew(line: Bench) -> None:
    line.up()
    together(line)
    assert run("kill", "process", "postgresql.replica-1", str(line.folder)).returncode == 0
    made = line.state / "data" / "postgresql.replica-1" / "cluster.made"
    # What it would have to receive is gone: of another line's server, as far as the leader is concerned.
    for each in (made.parent / "cluster" / "pg_wal").glob("0*"):
        each.unlink()
    acknowledged = write(line)
    assert run("heal", "process", "postgresql.replica-1", str(line.folder)).returncode == 0
    together(line)
    assert rows(line) == acknowledged


@pytest.mark.parametrize("step", range(8))
def test_an_interrupted_takeover_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Interrupted before each of its steps, in which files change places."""
    mine, theirs = tmp_path / "postgresql", tmp_path / "postgresql.replica-1"
    for folder, name in ((mine, "older"), (theirs, "leads")):
        (folder / "cluster").mkdir(parents=True)
        (folder / "cluster" / "who").write_text(name)
        (folder / "cluster.made").touch()
    (mine / "leader").write_text("postgresql.replica-1\n")

    class Crash(Exception):
        pass

    left = step
    changes = {name: getattr(Path, name) for name in ("rename", "unlink", "touch")}

    def counted(name: str):  # type: ignore[no-untyped-def]
        def change(*given, **more):  # type: ignore[no-untyped-def]
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return changes[name](*given, **more)

        return change

    with monkeypatch.context() as patched:
        for name in changes:
            patched.setattr(Path, name, counted(name))
        try:
            inherit.main(str(mine), "postgresql.replica-1")
        except Crash:
            # Whatever is there, the data that leads is there once, and whole.
            found = [path.read_text() for path in tmp_path.glob("*/*/who")]
            assert sorted(found) == ["leads", "older"]
    heir = begun.heir if (begun := inherit.journal(mine)) else "postgresql.replica-1"
    assert inherit.main(str(mine), heir) == 0
    assert (mine / "cluster" / "who").read_text() == "leads"
    assert [path.read_text() for path in mine.glob("superseded-*/who")] == ["older"]
    assert (mine / "cluster.made").exists() and not (theirs / "cluster.made").exists()
    assert inherit.journal(mine) is None and inherit.led(mine) == "postgresql"
    assert inherit.main(str(mine), "postgresql.replica-1") == 0
    assert (mine / "cluster" / "who").read_text() == "leads"


def test_a_line_that_grew_while_a_takeover_was_interrupted_goes_on_with_the_data_that_led(
    line: Bench,
) -> None:
    line.up()
    replica_leads(line, heal=False)
    acknowledged = write(line)
    line.down()
    # As it was killed between its two renames.
    folder = line.state / "data" / "postgresql"
    (folder / inherit.JOURNAL).write_text('{"heir": "postgresql.replica-1", "aside": "superseded-then"}')
    (folder / "cluster").rename(folder / "superseded-then")
    line.up()
    assert cluster(line)["leader"] == "postgresql"
    assert rows(line) == acknowledged
    together(line)
    replica_leads(line, heal=True)
    assert rows(line) == acknowledged


def test_without_the_data_that_led_nothing_starts(line: Bench) -> None:
    line.up()
    replica_leads(line, heal=False)
    line.down()
    (line.state / "data" / "postgresql.replica-1" / "cluster").rename(line.folder / "elsewhere")
    resize(line, 0, '["a"]')
    done = line.run("up", "--detach")
    assert done.returncode != 0
    assert (
        "postgresql.replica-1 led when the line ended" in done.stderr
        and "data/postgresql/leader" in done.stderr
    )
