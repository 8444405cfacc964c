"""What happened to a running line, for `status`, the live view and `logs/events.log`."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

from tierline.run.storage import Storage

_KEPT = 100


class Events:
    """The last events, newest last, and a file of all of them."""

    def __init__(self, path: Path, storage: Storage) -> None:
        self._path = path
        self._storage = storage
        try:
            path.touch()
        except OSError as error:
            storage.failed(path.name, error)
        self._kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self.count = 0

    def tell(self, what: str, name: str, text: str) -> None:
        """what: a word such as `reloaded`, `refused`, `blocked`. name: the process or service it is about."""
        self._kept.append({"at": time.time(), "what": what, "name": name, "text": text})
        self.count += 1
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(f"{stamp} {what} {name}: {text}\n")
        except OSError as error:
            self._storage.failed(self._path.name, error)

    def last(self, number: int = 20) -> list[dict[str, Any]]:
        return list(self._kept)[-number:]
