"""The data that led goes on leading in the primary's folder: `python -m tierline.engines.postgresql.inherit FOLDER NAME`.

Runs before the primary starts when the member NAME led last and the line has no such member any more: the primary's
own data is older, and lacks what was acknowledged meanwhile. It is kept aside, not removed.

    journal ─▶ the older data aside ─▶ the data that led in its place ─▶ who leads ─▶ no journal

Each step is one rename, and is left out when it was done: a run that was interrupted is finished by the next one. As
long as there is a journal it decides, whatever members the line has got since.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

JOURNAL = "inherits.json"
MARKER = "leader"
"""A file in the primary's folder: the name of who leads."""
ASIDE = "superseded-"


class Journal(msgspec.Struct, frozen=True):
    """What is being done. names are of folders."""

    heir: str
    """The member whose data leads."""
    aside: str
    """Where the older data is kept, in the primary's folder."""


def journal(folder: Path) -> Journal | None:
    """What an interrupted run has begun. folder: the primary's."""
    try:
        return msgspec.json.decode((folder / JOURNAL).read_bytes(), type=Journal)
    except FileNotFoundError:
        return None


def led(folder: Path) -> str:
    """Who led last; empty: nobody but the primary ever did. folder: the primary's."""
    try:
        return (folder / MARKER).read_text().strip()
    except FileNotFoundError:
        return ""


def main(given: str, heir: str) -> int:
    folder = Path(given)
    begun = journal(folder)
    if begun is None:
        if led(folder) != heir:
            return 0  # it was done at an earlier start
        begun = Journal(heir, f"{ASIDE}{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}")
        _write(folder / JOURNAL, msgspec.json.encode(begun))
    theirs, mine = folder.with_name(begun.heir), folder / "cluster"
    if (theirs / "cluster").is_dir():
        if mine.is_dir():
            mine.rename(folder / begun.aside)
            _sync(folder)
        (theirs / "cluster").rename(mine)
        _sync(theirs)
        _sync(folder)
    (folder / "cluster.made").touch(mode=0o600)
    # Should this member come back, it is cloned.
    (theirs / "cluster.made").unlink(missing_ok=True)
    _write(folder / MARKER, f"{folder.name}\n".encode())
    (folder / JOURNAL).unlink()
    _sync(folder)
    print(f"the data of {begun.heir} leads here now; what was here is in {folder / begun.aside}")
    return 0


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, and on the disk."""
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
