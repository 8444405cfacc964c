"""What HTTP demands of the server of Python services, byte by byte: of ASGI and of WSGI applications."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from edge import Line
from wire import Reply, replies_of
from wire_apps import HEADS
from wire_cases import FRAMED, REFUSED

from tierline import DNS, Service, Stack
from waiting import PATIENCE

KINDS = ("asgi", "wsgi")
_AFTER = b"GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
ITS_OWN = {
    "space-in-host": "a service may know the names that it answers to",
    "te-twice": "Granian takes chunked twice for once; no tier in front passes it on",
    "trace": "a service may know TRACE; no tier in front passes it on",
    "connect": "answered with 501",
}
"""What a server that is the origin itself may take, and why."""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    project = tmp_path_factory.mktemp("wire")
    project.chmod(0o755)
    shutil.copy(Path(__file__).with_name("wire_apps.py"), project)
    services = [
        Service("asgi", "wire_apps:app", expose=["/"]),
        Service("wsgi", "wire_apps:wsgi", interface="wsgi", expose=["/w"]),
    ]
    line = Line(Stack("wire", dns=DNS("wire.test"), services=services, zones=["a"]), "feature", {}, project)
    try:
        yield line.start()
    finally:
        line.close()


def sent(line: Line, kind: str, data: bytes, cut: bool = False) -> bytes:
    """What comes back until the server closes, or, once something came, is silent. cut: the client says no more."""
    with socket.create_connection(line.addresses[(f"{kind}.a", "http")], timeout=PATIENCE) as sock:
        sock.sendall(data)
        if cut:
            sock.shutdown(socket.SHUT_WR)
        found = b""
        with contextlib.suppress(OSError):
            while chunk := sock.recv(65536):
                found += chunk
                sock.settimeout(PATIENCE if _AFTER in data else 0.5)
        return found


def seen(line: Line, kind: str, path: str) -> list[str]:
    (reply,) = replies_of(
        sent(line, kind, _AFTER.replace(b"/after", b"/seen")), "GET"
    )  # fmt: skip
    found: list[str] = json.loads(reply.body)
    return [each for each in found if path in each]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", [*HEADS, "/early", "/broken", "/half"])
def test_one_answer_takes_nothing_from_the_next(line: Line, kind: str, path: str) -> None:
    """RFC 9112, 6.3: whatever an application says of its answer's length, the next one on the connection is whole."""
    data = sent(line, kind, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + _AFTER)
    first, *rest = [*replies_of(data, "GET"), Reply(), Reply()]
    status, headers, body = HEADS.get(path, (200, [], b""))
    if path in ("/short", "/head") and not data:
        return  # cut before anything of it was sent
    if path == "/early":
        assert (first.status, first.body) == (413, b"too large")
    elif path == "/broken":
        assert first.status == 500
    elif path in ("/short", "/long", "/half", "/head"):
        cut = int(dict(headers).get("content-length", 0)) > len(first.body) or b"\r\n0\r\n\r\n" not in data
        assert (
            first.status == 500 or (path == "/long" and first.body == b"go") or (cut and not rest[0].status)
        )
    elif path in ("/crlf", "/name"):
        assert first.status == 500 and not first.all("x-evil")
    else:
        assert (first.status, first.body) == (status, b"" if status in (204, 304) else body), data
        assert path != "/cookies" or first.all("set-cookie") == ["a=1", "b=2"]
    assert len(first.all("date")) == len(first.all("server")) == 1
    assert len(first.all("content-length") + first.all("transfer-encoding")) <= (status != 204)
    if rest[0].status:
        assert (rest[0].status, rest[0].body) == (200, b"good"), data


@pytest.mark.parametrize("kind", KINDS)
def test_head_has_the_length_and_no_body(line: Line, kind: str) -> None:
    data = sent(line, kind, b"HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n" + _AFTER.replace(b"GET", b"HEAD"))
    first, second = replies_of(data, "HEAD")
    assert (first.status, first.header("content-length"), second.status) == (200, "4711", 200)
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_malformed_is_refused(line: Line, kind: str, name: str) -> None:
    case, path = REFUSED[name], f"/wire/{name}"
    data = sent(line, kind, case.sent.replace(b"{p}", path.encode()))
    answers, reached = replies_of(data, "GET"), seen(line, kind, path)
    if name in ITS_OWN:
        assert [each.status for each in answers] in ([200], [501]), data
        return
    # An application that was called before its body turned out to be none may have answered.
    begun = name.startswith("chunk-")
    assert not reached and len(answers) <= 1, (reached, data)
    assert begun or all(400 <= each.status < 600 for each in answers), data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FRAMED)
def test_two_framings_end_the_connection(line: Line, kind: str, name: str) -> None:
    case, path = FRAMED[name], f"/wire/{name}"
    answers = replies_of(sent(line, kind, case.sent.replace(b"{p}", path.encode())), "POST")
    assert len(answers) <= 1 and not seen(line, kind, f"{path}/smuggled"), answers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "framed", [b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_half_a_body_is_no_whole_one(line: Line, kind: str, framed: bytes) -> None:
    """RFC 9112, 8: an application is told that its client left, and not that the body is over."""
    path = f"/half-body-{len(framed)}"
    sent(line, kind, f"POST {path} HTTP/1.1\r\nHost: a\r\n".encode() + framed, cut=True)
    assert not seen(line, kind, path)


@pytest.mark.parametrize("kind", KINDS)
def test_trailers_are_no_fields(line: Line, kind: str) -> None:
    head = b"POST /trailers HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent(line, kind, head + b"3\r\nabc\r\n0\r\nX-A: evil\r\nContent-Length: 9\r\n\r\n" + _AFTER)
    assert seen(line, kind, "/trailers") == ["POST /trailers abc "]


@pytest.mark.parametrize("kind", KINDS)
def test_an_early_answer_leaves_nothing_of_the_body(line: Line, kind: str) -> None:
    """RFC 9112, 9.3: what was not read is read away, or the connection ends."""
    body = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    head = b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    answers = replies_of(sent(line, kind, head + body + _AFTER), "POST")
    assert [each.status for each in answers] in ([413], [413, 200]), answers
    assert not seen(line, kind, "/smuggled")


@pytest.mark.parametrize("kind", KINDS)
def test_who_expects_100_is_told_to_go_on_by_reading(line: Line, kind: str) -> None:
    """RFC 9110, 10.1.1: not before the application reads, and an answer without reading does without."""
    ask = b"POST /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    assert sent(line, kind, ask % b"early").startswith(b"HTTP/1.1 413")
    assert sent(line, kind, ask % b"read").startswith(b"HTTP/1.1 100")
    old = b"POST /old HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    assert sent(line, kind, old).startswith(b"HTTP/1.0 200")


def test_lines_of_a_wsgi_body_are_whole(line: Line) -> None:
    data = sent(
        line,
        "wsgi",
        b"POST /lines HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\nab\ncd\nef",
    )
    (reply,) = replies_of(data, "POST")
    assert json.loads(reply.body) == ["ab\n", "cd\n", "ef"]
