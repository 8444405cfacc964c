"""Unix sockets in folders with long names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def short(path: Path | str) -> Iterator[str]:
    """The same socket by its folder's descriptor: a Unix socket's address holds 107 bytes (unix(7)), and a project's
    folder may have a longer path. Raises OSError when there's no such folder."""
    folder, name = os.path.split(path)
    opened = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{name}"
    finally:
        os.close(opened)
