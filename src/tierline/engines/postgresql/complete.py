"""Whether a follower has all of a leader that was stopped: `python -m tierline.engines.postgresql.complete PSQL
CONNECTION CLUSTER`.

CONNECTION: the follower's. CLUSTER: the leader's data folder. A server that stops in order writes a last checkpoint and
sends it to who follows before it ends: who received that has everything. Exit code 0: it has.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

_PATIENCE = 5.0
"""Seconds for what was received to be on the disk."""


def last(psql: str, cluster: str) -> str | None:
    """The position of the last checkpoint of a server that was stopped in order; None: it wasn't."""
    tool = Path(psql).with_name("pg_controldata")
    said = subprocess.run(
        [str(tool), cluster], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    ).stdout
    stopped = re.search(r"^Database cluster state: +shut down$", said, re.MULTILINE)
    position = re.search(r"^Latest checkpoint location: +([0-9A-F]+/[0-9A-F]+)$", said, re.MULTILINE)
    return position[1] if stopped and position else None


def main(psql: str, connection: str, cluster: str) -> int:
    position = last(psql, cluster)
    if position is None:
        return 1
    ask = [psql, "-XqAt", "-w", "-v", "ON_ERROR_STOP=1", "-d", connection]
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        said = subprocess.run(
            [*ask, "-c", f"SELECT pg_last_wal_receive_lsn() > '{position}'"],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode == 0 and said.stdout.strip() == "t":
            return 0
        time.sleep(0.02)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
