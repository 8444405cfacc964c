"""Clients that say less, or more, than browsers do: nothing hangs, and connections end where they should."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from workbench import Bench

pytestmark = pytest.mark.real

PATHS = ("/", "/home", "/film/5", "/films/7", "/posters/1.svg", "/nosuch")
LOGIN = b'{"name": "alice", "password": "x"}'


class Connection:
    """One TLS connection to the cinema, read as it comes."""

    def __init__(self, line: Bench) -> None:
        host, port = line.status()["urls"]["https"].removeprefix("https://").rstrip("/").rsplit(":", 1)
        trust = ssl.create_default_context(cafile=line.state / "authority" / "ca.pem")
        plain = socket.create_connection((host, int(port)), timeout=60)
        self.socket = trust.wrap_socket(plain, server_hostname="cinema.test")
        self.file = self.socket.makefile("rb")

    def send(self, text: str, body: bytes = b"") -> None:
        lines = [*text.splitlines(), "host: cinema.test", "", ""]
        self.socket.sendall("\r\n".join(lines).encode() + body)

    def head(self) -> tuple[int, dict[str, str]]:
        status = int(self.file.readline().split()[1])
        fields = {}
        while line := self.file.readline().strip().decode("latin-1"):
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        return status, fields

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def connection(cinema: Bench) -> Iterator[Connection]:
    made = Connection(cinema)
    yield made
    made.close()


def test_head_has_no_body_and_the_connection_stays(connection: Connection) -> None:
    for path in PATHS:
        connection.send(f"HEAD {path} HTTP/1.1")
        status, _ = connection.head()
        assert status == (404 if path == "/nosuch" else 200)
    connection.send("GET /films/7 HTTP/1.1")
    status, fields = connection.head()  # a body of one before would be here
    assert (status, len(connection.file.read(int(fields["content-length"])))) == (
        200,
        int(fields["content-length"]),
    )


@pytest.mark.parametrize("method", ["OPTIONS", "DELETE", "PATCH", "TRACE", "CONNECT", "FOO"])
@pytest.mark.parametrize("path", PATHS)
def test_a_method_that_a_path_has_not_is_refused_at_once(
    connection: Connection, method: str, path: str
) -> None:
    connection.send(f"{method} {path} HTTP/1.1\ncontent-length: 0")
    assert 400 <= connection.head()[0] < 500


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_http_1_0_gets_a_plain_answer_and_the_end_of_the_connection(
    connection: Connection, method: str, path: str
) -> None:
    connection.send(f"{method} {path} HTTP/1.0")
    status, fields = connection.head()
    assert status in (200, 404)
    assert "transfer-encoding" not in fields, "HTTP/1.0 knows no chunks (RFC 9112, 6.1)"
    body = connection.file.read()  # to the end
    assert bool(body) is (method == "GET")
    if method == "GET" and "content-length" in fields:
        assert len(body) == int(fields["content-length"])


@pytest.mark.parametrize("path", ["/login", "/checkout", "/nosuch", "/home"])
@pytest.mark.parametrize("chunked", [True, False])
def test_who_expects_100_continue_gets_it_or_an_answer(
    connection: Connection, path: str, chunked: bool
) -> None:
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(LOGIN)}"
    connection.send(f"POST {path} HTTP/1.1\nexpect: 100-continue\ncontent-type: application/json\n{length}")
    status, _ = connection.head()
    if status == 100:
        connection.socket.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(LOGIN), LOGIN) if chunked else LOGIN)
        status, _ = connection.head()
    assert status == {"/login": 200, "/checkout": 401, "/nosuch": 404, "/home": 405}[path]
