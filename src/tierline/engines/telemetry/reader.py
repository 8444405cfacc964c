"""Following the hop files: what was appended since the last look, and cutting files that have grown large."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import msgspec

from tierline.trips.hop import Hop
from tierline.trips.normalise import hop

_MOST = 32 << 20
"""A hop file is cut back to nothing once it was read this far: engines append, so they go on at its start."""
_CHUNK = 4 << 20


class Reader:
    """Follows every file of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}
        self._counts: Counter[bytes] = Counter()

    def resume(self, offsets: dict[str, int]) -> None:
        """Go on where the process before had landed everything."""
        self._read.update(offsets)

    def offsets(self) -> dict[str, int]:
        """How far each file was read."""
        return dict(self._read)

    def poll(self) -> list[Hop]:
        """Hops appended since the last poll. Lines of requests that aren't sampled are only counted."""
        found: list[Hop] = []
        with os.scandir(self._folder) as entries:
            files = [
                (entry.path, entry.name, entry.stat().st_size)
                for entry in entries
                if entry.name.endswith(".jsonl")
            ]
        for path, name, size in files:
            at = self._read.get(name, 0)
            if size < at:
                at = 0
            if size > at:
                at = self._lines(path, at, found)
                if at >= _MOST and at == os.stat(path).st_size:  # noqa: PTH116  on a hot path
                    os.truncate(path, 0)
                    at = 0
            self._read[name] = at
        return found

    def _lines(self, path: str, at: int, found: list[Hop]) -> int:
        with open(path, "rb") as file:  # noqa: PTH123  on a hot path
            file.seek(at)
            chunk = file.read(_CHUNK)
        whole = chunk.rfind(b"\n") + 1
        for line in chunk[:whole].splitlines():
            if line.startswith(b'{"f":"00"') and b'"t":' not in line:
                self._counts[line] += 1
                continue
            each = hop(line)
            if each is None:
                continue
            if each.flags == "01" or each.status >= 500:
                found.append(each)
            self._counts[_counted(each)] += 1
        return at + whole

    def counts(self) -> list[tuple[str, str, str, int, str, int]]:
        """(tier, system, zone, status, verdict, how many) since the last call."""
        counts, self._counts = self._counts, Counter()
        merged: Counter[tuple[str, str, str, int, str]] = Counter()
        for line, number in counts.items():
            try:
                raw = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue
            each = hop(line)
            if each is not None:
                merged[(each.tier, each.system, each.zone, each.status, each.verdict)] += number * int(
                    raw.get("c", 1)
                )
        return [(*key, number) for key, number in sorted(merged.items())]


def _counted(each: Hop) -> bytes:
    return msgspec.json.encode(
        {"f": "00", "s": each.status, "T": each.tier, "y": each.system, "z": each.zone, "v": each.verdict}
    )
