"""How long what is in the store is kept, and how fine: the store's size has a bound."""

from __future__ import annotations

import time
from typing import Any

_COARSE = ((3600, "1 minute"), (2 * 86400, "1 hour"))
"""Counts that are older than so many seconds are summed up by that."""
HOPS = 1_000_000
"""Rows of hops: about 200 MB."""
_SUMMED = {
    "counts": "tier, system, zone, status, verdict",
    "callers": "zone, route, consumer, status, verdict",
}


def forget(database: Any, *, hops: float, counts: float, events: float) -> None:
    """Remove what is older than so many seconds; sum up older counts. One transaction."""
    database.execute("begin")
    for table, seconds in (("hops", hops), ("counts", counts), ("callers", counts), ("events", events)):
        # Names of tables and columns are this module's own.
        database.execute(f"delete from {table} where time < make_timestamp(?)", (_ago(seconds),))  # noqa: S608
    for table, columns in _SUMMED.items():
        for age, width in _COARSE:
            bucket = f"time_bucket(interval '{width}', "
            older = f"time < {bucket}make_timestamp({_ago(age)}))"
            database.execute(
                f"create temp table summed as select {bucket}time) as time, {columns}, "  # noqa: S608
                f"sum(requests)::bigint as requests from {table} where {older} group by all"
            )
            database.execute(f"delete from {table} where {older}")  # noqa: S608
            database.execute(f"insert into {table} select * from summed")  # noqa: S608
            database.execute("drop table summed")
    database.execute("commit")


def trim(database: Any, most: int = HOPS) -> None:
    """Keep no more than so many hops. Hops of errors are all kept in detail, and a line may have nothing else."""
    ((number,),) = database.execute("select count(*) from hops").fetchall()
    if number > most:
        # A tenth more than needed: not a few at each look.
        keep = most - most // 10
        database.execute(
            "delete from hops where time <= (select time from hops order by time desc limit 1 offset ?)",
            (keep,),
        )


def _ago(seconds: float) -> int:
    """µs since the epoch."""
    return int((time.time() - seconds) * 1e6)
