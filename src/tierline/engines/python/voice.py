"""The process's end of the socket to its supervisor (run/voice.py). Without a supervisor it says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tierline.errors import TierlineError

_MOST = 100 << 10


class Voice:
    """Says things to the supervisor from any thread; never waits for it."""

    def __init__(self) -> None:
        given = os.environ.pop("TIERLINE_VOICE", "")
        self._socket = socket.socket(fileno=int(given)) if given else None
        self.answers: dict[str, Callable[[dict[str, Any]], None]] = {}
        """What else the supervisor may say, by its `do`."""
        if self._socket is not None:
            self._socket.setblocking(False)
            os.set_inheritable(self._socket.fileno(), False)

    def say(self, **message: Any) -> bool:
        """Whether it was said."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(json.dumps(message).encode())
                return True
        return False

    def wait(self) -> dict[str, str] | None:
        """Wait until the supervisor says go: the environment to go with. None when it hangs up."""
        if self._socket is None:
            return None
        self._socket.setblocking(True)
        try:
            raw, descriptors, _, _ = socket.recv_fds(self._socket, _MOST, 250)
        except OSError:
            return None
        finally:
            self._socket.setblocking(False)
        if not raw:
            return None
        told = json.loads(raw)
        listen = dict(zip(told["sockets"], descriptors, strict=True))
        return {**told["environment"], "TIERLINE_LISTEN": json.dumps(listen)}

    def listen(self, sockets: dict[str, socket.socket], retire: Callable[[], None]) -> None:
        """Answer the supervisor from the event loop: hand over the listening sockets, or retire."""
        if self._socket is None:
            return
        ours = self._socket

        def read() -> None:
            try:
                raw = ours.recv(_MOST)
            except BlockingIOError:
                return
            except OSError:
                raw = b""
            if not raw:  # the supervisor is gone; the guardian sees to this process
                asyncio.get_running_loop().remove_reader(ours)
                return
            told = json.loads(raw)
            if told.get("do") == "sockets":
                message = json.dumps({"sockets": list(sockets)}).encode()
                socket.send_fds(ours, [message], [each.fileno() for each in sockets.values()])
            elif told.get("do") == "retire":
                retire()
            elif told.get("do") in self.answers:
                self.answers[told["do"]](told)

        asyncio.get_running_loop().add_reader(ours, read)


elsewhere: set[str] = set()
"""Files of the project that are imported by processes of this one's handlers."""


def imported(project: str) -> list[str]:
    """Files below the project's folder that this process runs: a change in one of them concerns it."""
    root = os.path.join(project, "")  # noqa: PTH118  many modules, told once a second
    found = set(elsewhere)
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.startswith(root) and "site-packages" not in path:
            found.add(path)
    return sorted(found)[:500]


def mistake(error: BaseException, project: str) -> dict[str, Any]:
    """An error of the user's code: where in the project, and what. `whole`: there is no more to be said."""
    if isinstance(told := getattr(error, "mistake", None), dict):  # of a handler's process
        return told
    if isinstance(error, TierlineError):  # it says where by itself
        return {"file": "", "line": 0, "what": str(error), "text": str(error), "whole": True}
    said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    at, line = "", 0
    if isinstance(error, SyntaxError) and error.filename:
        at, line = error.filename, error.lineno or 0
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename.startswith(project) and "site-packages" not in frame.filename:
                at, line = frame.filename, frame.lineno or 0
    short = str(Path(at).relative_to(project)) if at.startswith(project) else at
    return {"file": at, "line": line, "what": said, "text": f"{short}:{line}: {said}" if at else said}
