"""What each application of a process is answering now, in a file that outlives the process.

The file is mapped into memory: writing costs what writing memory costs, and after a SIGKILL or a segmentation fault
the kernel still has it, so the supervisor can tell who was at work when the process died.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from pathlib import Path

_SLOTS = 512
_SIZE = 160
_HEAD = struct.Struct("<Bd")
_TEXT = _SIZE - _HEAD.size


class Flying:
    """A table of slots: length of the text, time, text. More requests than slots are not noted; without room for the
    file, none is."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = path
        self._free: list[int] = []
        self.served: dict[str, int] = {}
        """Requests by application."""
        if path is not None:
            try:
                self._map = _mapped(path)
            except OSError:
                self.path = None
                return
            self._free = [number * _SIZE for number in range(_SLOTS)]

    def enter(self, app: str, what: str) -> int:
        """An application begins with something; the slot to `leave`."""
        self.served[app] = self.served.get(app, 0) + 1
        if not self._free:
            return -1
        at = self._free.pop()
        text = f"{app}\t{what}".encode(errors="replace")[:_TEXT]
        end = at + _HEAD.size
        self._map[end : end + len(text)] = text
        _HEAD.pack_into(self._map, at, len(text), time.time())
        return at

    def leave(self, slot: int) -> None:
        if slot >= 0:
            self._map[slot] = 0
            self._free.append(slot)

    def close(self) -> None:
        """A graceful end leaves no file."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                Path(self.path).unlink(missing_ok=True)


def _mapped(path: str | os.PathLike[str]) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # Its blocks at once: writing to a page that the disk has no room for ends the process (SIGBUS).
        os.posix_fallocate(descriptor, 0, _SLOTS * _SIZE)
        return mmap.mmap(descriptor, _SLOTS * _SIZE)
    finally:
        os.close(descriptor)


def read(path: Path) -> list[tuple[str, str, float]]:
    """(application, what it was doing, since when) of what had not ended, the latest first; the file is removed."""
    try:
        raw = path.read_bytes()
        path.unlink()
    except OSError:
        return []
    found = []
    for at in range(0, len(raw) - _SIZE + 1, _SIZE):
        length, began = _HEAD.unpack_from(raw, at)
        if length:
            text = raw[at + _HEAD.size : at + _HEAD.size + length].decode(errors="replace")
            app, _, what = text.partition("\t")
            found.append((app, what, began))
    return sorted(found, key=lambda each: -each[2])


flying = Flying()
"""This process's; `use` gives it its file."""


def use(path: str | os.PathLike[str]) -> Flying:
    global flying
    flying = Flying(path)
    return flying
