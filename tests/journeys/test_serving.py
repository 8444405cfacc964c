"""The whole experience layer on a real server, its services over HTTP: clients that leave, streams, load."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from serving import granian

from waiting import eventually


@pytest.fixture(scope="module")
def experience() -> Iterator[str]:
    with granian("apps:echo") as echo, granian("apps:experience", ECHO=echo) as address:
        yield address


def fetch(address: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"http://{address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def test_an_answer_and_its_revalidation(experience: str) -> None:
    status, headers, body = fetch(experience, "/film/7")
    assert (status, json.loads(body)) == (200, {"details": "/films/7", "slow": 0})
    status, _, body = fetch(experience, "/film/7", **{"If-None-Match": headers["etag"]})
    assert (status, body) == (304, b"")
    assert fetch(experience, "/film/x")[0] == 422
    assert fetch(experience, "/-/health")[2] == b'{"status":"ok"}'
    document = json.loads(fetch(experience, "/-/openapi.json")[2])
    assert set(document["paths"]) == {"/film/{film_id}", "/seen"}


def test_a_client_that_leaves_cancels_its_parts(experience: str) -> None:
    host, port = experience.split(":")

    def seen() -> list[str]:
        events: list[str] = json.loads(fetch(experience, "/seen")[2])["events"]
        return events

    before = len(seen())
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /film/7?ms=400000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert eventually(lambda: seen()[before:] == ["started"])
    assert eventually(lambda: seen()[before:] == ["started", "cancelled"]), seen()


def test_the_first_part_is_on_the_wire_before_the_last_is_done(experience: str) -> None:
    host, port = experience.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(60)
        connection.sendall(
            b"GET /film/7?ms=3000&stream HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
        )
        received = b""
        while b'"details"' not in received:
            received += connection.recv(4096)
        assert b"event: end" not in received, "it came with the last"
        while b"event: end" not in received:
            received += connection.recv(4096)


def test_many_at_once_are_all_answered(experience: str) -> None:
    host, port = experience.split(":")

    async def client(n: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for i in range(20):
            writer.write(f"GET /film/{n * 100 + i} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            length = next(
                int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            body = json.loads(await reader.readexactly(length))
            assert body["details"] == f"/films/{n * 100 + i}"
        writer.close()

    async def main() -> None:
        async with asyncio.timeout(10):
            await asyncio.gather(*(client(n) for n in range(30)))

    asyncio.run(main())


def test_a_head_request_tells_the_length_and_sends_nothing(experience: str) -> None:
    host, port = experience.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(5)
        lengths = []
        for method in ("GET", "HEAD"):
            connection.sendall(f"{method} /film/7 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            received = connection.recv(65536)
            head, _, body = received.partition(b"\r\n\r\n")
            lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            lengths.append(lines)
            assert bool(body) is (method == "GET")
        assert len(lengths[0]) == 1
        assert lengths[0] == lengths[1]
