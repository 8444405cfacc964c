"""Documents of others come whole and in time, or there is an error: never a line that waits or breaks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tierline.errors import EngineError, RunError
from tierline.run import fetched

Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A server that does to one connection what it is given; its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = listening.getsockname()

    def start(answer: Callable[[socket.socket], None]) -> str:
        def once() -> None:
            with suppress(OSError), listening.accept()[0] as connection:
                connection.recv(4096)
                answer(connection)

        threading.Thread(target=once, daemon=True).start()
        return f"http://{host}:{port}/keys"

    yield start
    listening.close()


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    ],
)
def test_what_is_no_document_is_an_error(serve: Serve, said: bytes) -> None:
    with pytest.raises(RunError, match="/keys"):
        fetched.document(serve(lambda connection: connection.sendall(said)))


def test_a_document_that_trickles_in_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "_WHOLE", 0.5)

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n")
        for _ in range(9000):
            connection.sendall(b" ")
            time.sleep(0.02)  # slow: it trickles in

    with pytest.raises(RunError, match="longer"):  # it would go on for three minutes
        fetched.document(serve(trickle))


def test_what_is_no_key_set_does_not_take_the_last_one_s_place(serve: Serve, tmp_path: Path) -> None:
    keys = fetched.Fetched(tmp_path)

    def good(text: str) -> None:
        if "keys" not in text:
            raise EngineError("no keys")

    texts = ['{"keys": []}', '{"error": 1}']
    said = [f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode() for text in texts]
    url = serve(lambda connection: connection.sendall(said[0]))
    assert keys.get(url, None, 60, good) == texts[0]
    serve(lambda connection: connection.sendall(said[1]))
    with pytest.raises(RunError, match="no keys"):
        keys.again(url)
    assert keys.get(url, None, 60, good) == texts[0]


def test_a_whole_document_is_given_as_it_is(serve: Serve) -> None:
    said = b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"keys": []}'
    assert fetched.document(serve(lambda connection: connection.sendall(said))) == '{"keys": []}'
