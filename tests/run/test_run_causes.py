"""The first line of a message is the first cause, and nothing of an earlier run is in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tierline.run.program import first_cause
from workbench import ONE, Bench

Make = Callable[..., Bench]

LOGS = {
    "ModuleNotFoundError: No module named 'x'": (
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    import x\n"
        "ModuleNotFoundError: No module named 'x'\nINFO: shutting down\n"
    ),
    "shop.errors.Closed: the till": (
        "Traceback (most recent call last):\n  File \"a.py\", line 1\n    ValueError('no')\nKeyError: 1\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n  File \"a.py\", line 1\nshop.errors.Closed: the till\n"
    ),
    "2026-01-01 10:00:00 UTC [7] FATAL:  could not create lock file": (
        "2026-01-01 10:00:00 UTC [7] LOG:  starting PostgreSQL\n2026-01-01 10:00:00 UTC [7] FATAL:  could not create lock file\n"
        "2026-01-01 10:00:00 UTC [7] LOG:  database system is shut down\n"
    ),
    'nginx: [emerg] unknown directive "x" in n.conf:3': (
        'nginx: [warn] duplicate\nnginx: [emerg] unknown directive "x" in n.conf:3\n'
    ),
    "[ALERT]    (9) : Fatal errors found in configuration.": (
        "[NOTICE]   (9) : haproxy version\n[ALERT]    (9) : Fatal errors found in configuration.\n"
    ),
    "[2026-01-01 10:00:00][1][critical][main] error initializing": (
        "[2026-01-01 10:00:00][1][info] x\n[2026-01-01 10:00:00][1][critical][main] error initializing\n"
    ),
    "Error: Cannot find module './a'": (
        "node:internal/modules:1\n  throw err;\nError: Cannot find module './a'\n    at Function.x\n"
    ),
    "panic: runtime error: index out of range": "goroutine starting\npanic: runtime error: index out of range\n",
    "": "all is well\nlistening on 80\n",
}  # fmt: skip


@pytest.mark.parametrize("cause", LOGS)
def test_the_line_of_a_log_that_says_why(cause: str) -> None:
    assert first_cause(LOGS[cause]) == cause


def test_the_cause_is_the_first_line_and_an_earlier_run_is_not_in_it(bench: Make) -> None:
    line = bench(ONE, hello="raise ValueError('the first cause')\n")
    first = line.run("up", "--detach").stderr
    assert "ValueError: the first cause" in first.splitlines()[0]
    (line.folder / "hello.py").write_text("raise ValueError('the second cause')\n")
    second = line.run("up", "--detach").stderr
    assert "ValueError: the second cause" in second.splitlines()[0]
    assert "the first cause" not in second


def test_a_mistake_in_a_schema_is_told_before_the_servers_log(bench: Make) -> None:
    line = bench(
        """
        from tierline import Relational, Service, Stack
        films = Relational("films", schema="sql")
        stack = Stack("sql", services=[Service("hello", "hello:app", uses=[films], expose=["/"])], zones=["a"])
        """,
        hello="app = None\n",
    )
    (line.folder / "sql").mkdir()
    (line.folder / "sql" / "001.sql").write_text("CREATE TABEL films (id int);\n")
    said = line.run("up", "--detach").stderr
    assert 'sql/001.sql:1: ERROR:  syntax error at or near "TABEL"' in said.splitlines()[0]
    assert "database system" not in said, "the server's own log explains nothing here"
