"""What happened to a running line, for `status`, the live view and `logs/events.log`."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

_KEPT = 100


class Events:
    """The last events, newest last, and a file of all of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()
        self._kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self.count = 0

    def tell(self, what: str, name: str, text: str) -> None:
        """what: a word such as `reloaded`, `refused`, `blocked`. name: the process or service it is about."""
        self._kept.append({"at": time.time(), "what": what, "name": name, "text": text})
        self.count += 1
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._path.open("a") as file:
            file.write(f"{stamp} {what} {name}: {text}\n")

    def last(self, number: int = 20) -> list[dict[str, Any]]:
        return list(self._kept)[-number:]
