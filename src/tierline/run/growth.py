"""What a line writes as long as it runs has a bound: logs, and hop files that nobody reads.

Programs have their logs open for appending, so a log that has grown large is copied to `NAME.log.1`, which replaces the one
before, and begins anew. What is written between the two is lost: a few lines, once in many megabytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierline.run.line import Line

LOG = 16 << 20
"""Bytes of a log before it begins anew; as many are kept of what was before."""
HOPS = 512 << 20
"""Bytes of a hop file: telemetry cuts it at 32 MB once it has read it, so nobody does."""
_EVERY = 5.0


async def watch(line: Line) -> None:
    """Until cancelled."""
    while True:
        await asyncio.to_thread(bound, line.state.root / "logs")
        for name in await asyncio.to_thread(cut, line.state.root / "hops"):
            line.events.tell(
                "lost", name, f"hops of which telemetry has read none for {HOPS >> 20} MiB are removed"
            )
        await asyncio.sleep(_EVERY)


def bound(folder: Path, most: int = LOG) -> None:
    """Begin logs anew that are larger than `most` bytes; the last of what they held is kept beside them."""
    for path in folder.glob("*.log"):
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            if size <= most:
                continue
            kept = path.with_name(f"{path.name}.1")
            new = kept.with_name(f"{kept.name}.new")
            with path.open("rb") as file, new.open("wb") as copy:
                file.seek(size - most)
                file.readline()  # the rest of a line
                while chunk := file.read(1 << 20):
                    copy.write(chunk)
            new.rename(kept)
            os.truncate(path, 0)


def cut(folder: Path, most: int = HOPS) -> list[str]:
    """Empty hop files that are larger than `most` bytes; the names of their units."""
    found = []
    for path in folder.glob("*.jsonl"):
        with contextlib.suppress(OSError):
            if path.stat().st_size > most:
                os.truncate(path, 0)
                found.append(path.stem)
    return found
