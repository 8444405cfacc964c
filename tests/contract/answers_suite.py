"""What a service answers is passed on as HTTP has it, and no byte of it is taken for another's answer (RFC 9110, 9112)."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

import pytest
from answer_cases import TOLD, Told
from wire import Reply, replies_of

if TYPE_CHECKING:
    from edge import Line

_NEXT = 3
"""Requests of others after each answer: they may get a connection on which something is left."""


class Answers:
    """A part of WireContract."""

    line: ClassVar[Line]
    at: tuple[str, int]
    declared: Callable[[str, bool, str], None]
    answered: ClassVar[dict[str, Future[tuple[bytes, list[str]]]]]

    def told(self, name: str) -> tuple[bytes, list[str]]:
        """All bytes that came for this answer, and what others were told wrongly afterwards."""
        case, path = TOLD[name], f"/told/{name}"
        fields = {"X-Test-Raw": quote(case.sent, safe="")}
        if case.close:
            fields["X-Test-Raw-Close"] = "1"
        if case.status == 304:
            fields["If-None-Match"] = '"a"'
        data = self._bytes(path, case.method, fields)
        wrong = []
        for number in range(_NEXT):
            own = f"{path}/next-{number}"
            found = replies_of(self._bytes(own, "GET", {}), "GET")
            if [each.status for each in found] != [200] or json.loads(found[0].body)["path"] != own:
                wrong.append(str(found))
        return data, wrong

    def _bytes(self, path: str, method: str, fields: dict[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        data = b""
        with socket.create_connection(self.at, timeout=5) as sock:
            sock.settimeout(8)
            sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            with contextlib.suppress(OSError):
                while chunk := sock.recv(65536):
                    data += chunk
                    sock.settimeout(1.5)
        return data

    @pytest.mark.parametrize("name", TOLD)
    def test_what_a_service_answers(self, name: str) -> None:
        case = TOLD[name]
        data, wrong = self.answered[name].result()
        assert not wrong, f"RFC {case.section}: {case.says}: the next ones got {wrong} (this one {data!r})"
        self.declared(f"answer-{name}", *_fine(case, data))


def _fine(case: Told, data: bytes) -> tuple[bool, str]:
    replies = replies_of(data, case.method)
    why = f"RFC {case.section}: {case.says}: {data[:600]!r}"
    whole = len(replies) == 1 and _whole(replies[0], data, case)
    (reply,) = replies if len(replies) == 1 else (Reply(),)
    error = not whole or reply.status >= 500
    if not case.status:
        return error, why
    fine = whole and reply.status == case.status and case.body in (None, reply.body)
    if fine and case.header is not None:
        value = reply.header(case.header[0])
        # A fold is replaced by one space or more.
        fine = (value and " ".join(value.split()), value is None) == (case.header[1], case.header[1] is None)
    if fine and reply.status == 204:
        fine = not reply.all("content-length") and not reply.all("transfer-encoding")
    fine = fine and len(reply.all("date")) <= 1 and len(reply.all("server")) <= 1
    fine = fine and len(reply.all("content-length")) <= 1
    return fine or (case.refused and error), why


def _whole(reply: Reply, data: bytes, case: Told) -> bool:
    """Whether a client takes it for the whole answer."""
    if case.method == "HEAD" or reply.status in (204, 304) or reply.status < 200:
        return data.endswith(b"\r\n\r\n")
    if "chunked" in (reply.header("transfer-encoding") or ""):
        return data.endswith(b"0\r\n\r\n")
    if (length := reply.header("content-length")) is not None:
        return int(length.split(",")[0]) == len(reply.body)
    return True
