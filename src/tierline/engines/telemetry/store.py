"""Hops and counts in DuckDB: one writer, whole batches."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from pathlib import Path
from typing import Any

from tierline.engines.telemetry import keeping
from tierline.engines.telemetry.events import Row
from tierline.trips.hop import Hop

_LATEST = 253_402_300_799_000_000
"""µs since the epoch: the end of the year 9999."""

_TABLES = """
create table if not exists hops (
    trace varchar, span varchar, parent varchar, tier varchar, system varchar, zone varchar, time timestamp,
    duration_us bigint, status integer, verdict varchar, name varchar, attributes json
);
create table if not exists counts (
    time timestamp, tier varchar, system varchar, zone varchar, status integer, verdict varchar, requests bigint
);
create table if not exists callers (
    time timestamp, zone varchar, route varchar, consumer varchar, status integer, verdict varchar, requests bigint
);
create table if not exists events (
    time timestamp, event varchar, funnel varchar, step varchar, position integer, session varchar, client varchar,
    zone varchar, trace varchar, attributes json
);
create table if not exists landed (file varchar, bytes bigint);
"""


class Store:
    """The warehouse's landing: `hops` in detail, `counts` and, at the gateway, `callers` complete, `events` of the
    journeys and services complete, `landed` how far each hop file is in them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
        self._db = self._opened()

    def _opened(self) -> Any:
        import duckdb

        config: dict[str, Any] = {
            "memory_limit": "128MB", "threads": "1", "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }  # fmt: skip
        database = duckdb.connect(str(self._path), config=config)
        database.execute(_TABLES)
        return database

    def again(self) -> None:
        """Open the database again after a failure: DuckDB refuses everything after one that it calls fatal.

        Raises what DuckDB raises as long as it can't be opened.
        """
        with contextlib.suppress(Exception):
            self._db.close()
        self._db = self._opened()

    def add(
        self,
        hops: list[Hop],
        counts: list[tuple[str, str, str, int, str, int]],
        offsets: dict[str, int],
        callers: list[tuple[str, str, str, int, str, int]] | None = None,
        events: list[Row] | None = None,
    ) -> None:
        """One transaction for all of it: after a crash nothing is missing and nothing is there twice.

        Raises OSError or what DuckDB raises when it can't be written: then nothing of it is there.
        """
        self._db.execute("begin")
        if hops:
            rows = [
                (
                    hop.trace, hop.span, hop.parent, hop.tier, hop.system, hop.zone, _timestamp(hop.start_us),
                    hop.duration_us, hop.status, hop.verdict, hop.name, json.dumps(hop.attributes),
                )
                for hop in hops
            ]  # fmt: skip
            self._copy("hops", rows)
        if counts:
            now = _timestamp(time.time_ns() // 1000)
            self._copy("counts", [(now, *row) for row in counts])
            if callers:
                self._copy("callers", [(now, *row) for row in callers])
        if events:
            self._copy("events", [(_timestamp(at), *each, json.dumps(more)) for at, *each, more in events])
        self._db.execute("delete from landed")
        self._db.execute(
            "insert into landed select unnest(?), unnest(?)", (list(offsets), list(offsets.values()))
        )
        self._db.execute("commit")

    def offsets(self) -> dict[str, int]:
        """How far each hop file has landed."""
        return dict(self.rows("select file, bytes from landed"))

    def totals(self) -> list[tuple[str, str, str, int, str, int]]:
        """(tier, system, zone, status, verdict, how many) of all requests."""
        return self.rows(
            "select tier, system, zone, status, coalesce(verdict, ''), sum(requests)::bigint from counts group by all"
        )

    def callers(self) -> list[tuple[str, str, str, int, str, int]]:
        """(zone, route, consumer, status, verdict, how many) of all requests at the gateway."""
        return self.rows(
            "select zone, coalesce(route, ''), coalesce(consumer, ''), status, coalesce(verdict, ''), "
            "sum(requests)::bigint from callers group by all"
        )

    def _copy(self, table: str, rows: list[tuple[Any, ...]]) -> None:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
        # Nothing is guessed from the rows, and one that a column can't hold doesn't keep the others out.
        path = self._folder / f".{table}.csv"
        path.write_text(text.getvalue())
        quoted = str(path).replace("'", "''")
        self._db.execute(
            f"copy {table} from '{quoted}' (format csv, header false, delimiter ',', quote '\"', escape '\"', "
            "nullstr '\\N', auto_detect false, ignore_errors true)"
        )
        path.unlink()

    def rows(self, query: str, given: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._db.execute(query, given).fetchall()
        return found

    def forget(self, *, hops: float, counts: float, events: float) -> None:
        """Remove what is older than so many seconds, and sum up older counts."""
        keeping.forget(self._db, hops=hops, counts=counts, events=events)

    def trim(self) -> None:
        """Remove the oldest hops when there are too many, whatever their age."""
        keeping.trim(self._db)

    def close(self) -> None:
        self._db.close()


def _timestamp(us: int) -> str:
    us = min(max(us, 0), _LATEST)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(us // 1_000_000)) + f".{us % 1_000_000:06d}"
