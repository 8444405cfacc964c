"""Quotas on disk: SQLite, written before the answer goes out, so that no process that dies forgets what it let in."""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path

_TABLE = "CREATE TABLE IF NOT EXISTS windows (key BLOB PRIMARY KEY, ends REAL, used INTEGER) WITHOUT ROWID"
_WAITING = 200_000
"""Windows that may wait to be written."""
_PUT = "INSERT INTO windows VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET ends = excluded.ends, used = excluded.used"


class Store:
    """The windows of a line. A file that is none is put aside (`.broken`), so that the line counts from then on.

    What can't be written (a full disk) is counted in memory as before, and written with the next that can.
    """

    def __init__(self, path: Path) -> None:
        self._unwritten: dict[bytes, tuple[float, int]] = {}
        try:
            self._database = self._opened(path)
        except sqlite3.DatabaseError:
            path.replace(path.with_suffix(".broken"))
            self._database = self._opened(path)

    def kept(self) -> dict[bytes, tuple[float, int]]:
        """Windows that haven't ended; the others are forgotten."""
        self._database.execute("DELETE FROM windows WHERE ends < ?", (time.time(),))
        return {key: (ends, used) for key, ends, used in self._database.execute("SELECT * FROM windows")}

    def keep(self, key: bytes, ends: float, used: int) -> None:
        try:
            if self._unwritten:
                waiting = [(each, *told) for each, told in self._unwritten.items()]
                self._database.executemany(_PUT, waiting)
                self._unwritten.clear()
            self._database.execute(_PUT, (key, ends, used))
        except sqlite3.Error as error:
            if not self._unwritten:
                print(f"quotas can't be written: {error}", file=sys.stderr)
            self._unwritten[key] = (ends, used)
            if len(self._unwritten) > _WAITING:
                del self._unwritten[next(iter(self._unwritten))]

    def close(self) -> None:
        for key, (ends, used) in list(self._unwritten.items())[-1:]:
            self.keep(key, ends, used)
        self._database.close()

    @staticmethod
    def _opened(path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        # A process that dies loses nothing; a machine that loses its power the last moments.
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_TABLE)
        return database
