"""The HTTP transport against a real server, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import granian, raw, says

from ports import free_port
from tierline.errors import StackError
from tierline.journeys import HTTP, DeadlineExceeded, Journey, ServiceClient, ServiceError, build, target
from tierline.journeys.fault import TooLarge, Unreachable
from tierline.journeys.frame import Frame, frame
from tierline.journeys.testing import Outcome, ask
from tierline.journeys.wire import Connection
from tierline.trips import record
from waiting import becomes


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with granian("apps:echo") as address:
        yield address


def run(main: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(10):
            return await main

    return asyncio.run(bounded())


def client(address: Any, **words: Any) -> ServiceClient:
    return ServiceClient("echo", HTTP(address, name="echo"), **words)


def test_methods_paths_queries_and_bodies_arrive(server: str) -> None:
    async def main() -> None:
        echo = client(server)
        told = (await echo.get("/films/{id}", id="a/b c?", q="ä&x", tags=["1", "2"], none=None)).json()
        assert told["path"] == "/films/a/b c?", "one quoted segment; the server unquotes it"
        assert told["query"] == "q=%C3%A4%26x&tags=1&tags=2"
        assert told["headers"]["host"] == "echo"
        for method in ("post", "put", "patch"):
            told = (await getattr(echo, method)("/orders", json={"a": [1, "ü"]}, room=5)).json()
            assert told["method"] == method.upper()
            assert told["body"] == '{"a":[1,"ü"]}'
            assert told["headers"]["content-type"] == "application/json"
            assert told["query"] == "room=5"
        assert (await echo.delete("/orders/{id}", id=1)).json()["method"] == "DELETE"
        head = await echo.request("HEAD", "/films")
        assert (head.status, head.body) == (200, b"")
        assert (await echo.get("/films")).status == 200, "the connection holds after HEAD"
        assert (await echo.get("/chunks")).text == "part part part part part end"
        await echo.transport.close()

    run(main())


def test_over_a_unix_socket(tmp_path: Any) -> None:
    async def main(address: str) -> None:
        echo = client(address)
        assert (await echo.get("/films/{id}", id=1)).json()["path"] == "/films/1"

    with granian("apps:echo", uds=str(tmp_path / "s")) as address:
        run(main(address))


def test_connections_are_kept_and_shared_by_many(server: str) -> None:
    async def main() -> None:
        transport = HTTP(server, name="echo", most_connections=4)
        echo = ServiceClient("echo", transport)
        replies = await asyncio.gather(*(echo.get("/films/{id}", id=n) for n in range(100)))
        assert [reply.json()["path"] for reply in replies] == [f"/films/{n}" for n in range(100)]
        (address,) = transport.addresses
        assert address.open == len(address.idle) == 4
        assert address.busy == 0
        await transport.close()
        assert address.open == 0

    run(main())


def test_deadline_and_trace_travel_along(server: str) -> None:
    async def main() -> None:
        echo = client(server)
        frame.set(Frame(asyncio.get_running_loop().time() + 600, {}))
        record.current.set(record.Span("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True))
        headers = (await echo.get("/films")).json()["headers"]
        assert 500_000 < int(headers["x-request-deadline-ms"]) <= 600_001
        assert headers["traceparent"] == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        frame.set(Frame(asyncio.get_running_loop().time() + 0.05, {}))
        with pytest.raises(DeadlineExceeded):
            await echo.get("/slow")
        with pytest.raises(DeadlineExceeded, match="no time is left"):
            await echo.get("/other")

    run(main())


def test_a_cancelled_call_leaks_no_connection(server: str) -> None:
    async def main() -> None:
        transport = HTTP(server, name="echo", most_connections=2)
        echo = ServiceClient("echo", transport)
        tasks = [asyncio.ensure_future(echo.get("/slow", n=n)) for n in range(5)]
        (address,) = transport.addresses
        assert await becomes(lambda: address.open == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (address.open, address.busy, len(address.idle)) == (0, 0, 0)
        assert (await echo.get("/films")).status == 200
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_a_reply_over_the_limit_is_contained(server: str) -> None:
    async def main() -> None:
        echo = client(server, most=1_000_000)
        with pytest.raises(TooLarge, match="larger than 1000000 bytes"):
            await echo.get("/big", n=50_000_000)
        assert len((await echo.get("/big", n=999_999)).body) == 999_999
        assert (await echo.get("/films")).status == 200

    run(main())


def test_errors_of_the_service_are_raised_unless_allowed(server: str) -> None:
    async def main() -> None:
        echo = client(server, retries=0)
        with pytest.raises(ServiceError, match="echo: 404") as lost:
            await echo.get("/status/404")
        assert lost.value.status == 404
        with pytest.raises(ServiceError) as broken:
            await echo.get("/status/500")
        assert (broken.value.status, broken.value.reply_status) == (502, 500)
        assert (await echo.get("/status/404", allow=(404,))).status == 404

    run(main())


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nX: a\nb\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/2 200\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2" * 2000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    ],
)
def test_an_ambiguous_or_malformed_reply_is_refused(reply: bytes) -> None:
    async def main() -> None:
        async with raw(says(reply)) as address:
            transport = HTTP(address, name="echo")
            with pytest.raises(ServiceError):
                await ServiceClient("echo", transport, timeout=2, retries=0).get("/")
            assert transport.addresses[0].open == 0

    run(main())


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b""),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), b""),
        (
            (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",),
            b"ab",
        ),
        (tuple(bytes([b]) for b in b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), b"abc"),
        (
            tuple(
                bytes([b])
                for b in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: t\r\n\r\n"
            ),
            b"abcd",
        ),
        ((b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nab", b"cde\r\n0\r\n", b"\r\n"), b"abcde"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"ab", b"cd"), b"abcd"),
    ],
)
def test_a_sound_reply_in_any_pieces_is_read(pieces: tuple[bytes, ...], body: bytes) -> None:
    async def main() -> None:
        async with raw(says(*pieces)) as address:
            transport = HTTP(address, name="echo")
            echo = ServiceClient("echo", transport, timeout=2)
            for _ in range(2):
                assert (await echo.get("/")).body == body
            assert transport.addresses[0].open == len(transport.addresses[0].idle) == 1, "and kept"

    run(main())


def test_a_reply_without_a_length_ends_with_the_connection() -> None:
    async def main() -> None:
        async with raw(says(b"HTTP/1.1 200 OK\r\n\r\n", b"abc", b"def", close=True)) as address:
            transport = HTTP(address, name="echo")
            assert (await ServiceClient("echo", transport).get("/")).body == b"abcdef"
            assert transport.addresses[0].open == 0

    run(main())


def test_a_second_reply_that_nobody_asked_for_is_not_taken_for_the_next() -> None:
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"

    async def main() -> None:
        async with raw(says(one + b"ok" + one + b"no")) as address:
            echo = client(address)
            for _ in range(3):
                assert (await echo.get("/")).body == b"ok"
                # The second one arrives after the first, and ends the connection.
                assert await becomes(lambda: not echo.transport.addresses[0].open)

    run(main())


def test_repeated_only_when_that_is_safe() -> None:
    requests: list[int] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(1)
        if len(requests) % 2:
            writer.close()
            raise ConnectionError
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def main() -> None:
        async with raw(behave) as address:
            echo = client(address)
            assert (await echo.get("/")).body == b"ok"
            assert len(requests) == 2
            await echo.transport.close()
            with pytest.raises(ServiceError, match="closed before its reply"):
                await echo.post("/orders", json=1)
            assert len(requests) == 3, "a POST is sent once"

    run(main())


def test_an_idle_connection_that_was_closed_costs_no_error() -> None:
    async def main() -> None:
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        async with raw(says(reply, close=True)) as address:
            echo = client(address, retries=0)
            for _ in range(5):
                assert (await echo.get("/")).body == b"ok"
                assert await becomes(lambda: all(each.lost for each in echo.transport.addresses[0].idle))

    run(main())


def test_the_nearest_address_answers_and_the_next_when_it_is_gone(server: str) -> None:
    async def main() -> None:
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnear"
        async with raw(says(reply)) as near:
            transport = HTTP([(server, 1), (near, 0)], name="echo")
            echo = ServiceClient("echo", transport)
            for _ in range(3):
                assert (await echo.get("/")).body == b"near"
        dead = f"127.0.0.1:{free_port()}"
        transport = HTTP([(dead, 0), (server, 1)], name="echo")
        echo = ServiceClient("echo", transport, retries=0)
        for method in ("get", "post"):
            assert (await getattr(echo, method)("/x")).json()["path"] == "/x"
        gone = next(address for address in transport.addresses if address.where == dead)
        assert gone.ejections == 1, "it is left alone after the first refusal"
        transport.set_addresses([(server, 0)])
        assert (await echo.get("/x")).status == 200
        transport.set_addresses([])
        with pytest.raises(Unreachable, match="no instance"):
            await echo.get("/x")

    run(main())


def test_an_instance_that_fails_is_left_alone_for_a_while(server: str) -> None:
    async def main() -> None:
        asked: list[int] = []

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(1)
            writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

        async with raw(behave) as weak:
            echo = client([(weak, 0), (server, 1)], retries=3)
            for _ in range(10):
                assert (await echo.get("/films", allow=(503,))).status in (200, 503)
            assert len(asked) == 3

    run(main())


def test_nobody_there_is_a_clear_error() -> None:
    async def main() -> None:
        echo = client(f"127.0.0.1:{free_port()}")
        with pytest.raises(Unreachable, match=r"echo: 127\.0\.0\.1:\d+"):
            await echo.get("/")

    run(main())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/{id}", {"id": ".."}),
        ("/{id}", {"id": ""}),
        ("films", {}),
        ("/a b", {}),
        ("/x\r\nX: y", {}),
        ("/", {"headers": {"x": "a\r\nb: c"}}),
        ("/", {"headers": {"x y": "a"}}),
    ],
)
def test_a_request_that_would_be_something_else_is_refused(path: str, words: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        run(client("127.0.0.1:1").get(path, **words))


@pytest.mark.parametrize(
    "address",
    [
        "localhost", "127.0.0.1:0", "127.0.0.1:99999", "http://", "ftp://x", "https://x:0", "https://x:99999",
        "https://u:p@x", "https://x/a?b", "https://x/#", "https://x/a/../b", "https://x/a b", "https://x\r\ny:1", "https://[::1",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(StackError, match="address"):
        HTTP(address)


def test_a_service_that_is_down_is_not_asked_twice_as_often() -> None:
    asked: list[int] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(1)
        writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        async with raw(behave) as address:
            echo = client(address)
            for _ in range(100):
                with pytest.raises(ServiceError, match="503"):
                    await echo.get("/films")
            assert 100 < len(asked) <= 120
            with pytest.raises(ServiceError, match="503"):
                await echo.post("/orders")

    run(main())


@given(
    replies=st.lists(
        st.tuples(st.binary(max_size=300), st.booleans(), st.integers(1, 80)), min_size=1, max_size=4
    ),
    cuts=st.lists(st.integers(1, 40), max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_any_sound_reply_cut_anywhere_is_read_the_same(
    replies: list[tuple[bytes, bool, int]], cuts: list[int]
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        connection = Connection("echo")
        connection.connection_made(Sink())  # type: ignore[arg-type]
        sizes = itertools.chain(cuts, itertools.repeat(7))
        for body, chunked, size in replies:
            if chunked:
                pieces = [body[i : i + size] for i in range(0, len(body), size)]
                coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
                wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"
            else:
                wire = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            waiter = connection.send(b"", 10_000, False, loop)
            while wire:
                cut = next(sizes)
                connection.data_received(wire[:cut])
                wire = wire[cut:]
            assert waiter.result().body == body
            assert connection.reusable

    run(main())


@given(st.binary(max_size=400), st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_any_bytes_at_all_end_in_a_reply_or_an_error(noise: bytes, cut: int) -> None:
    async def main() -> None:
        for head in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
            connection = Connection("echo")
            connection.connection_made(Sink())  # type: ignore[arg-type]
            waiter = connection.send(b"", 1000, False, asyncio.get_running_loop())
            wire = head + noise
            for start in range(0, len(wire), cut):
                connection.data_received(wire[start : start + cut])
            connection.connection_lost(None)
            assert waiter.done()
            if waiter.exception() is not None:
                assert isinstance(waiter.exception(), (ServiceError, TooLarge))

    run(main())


class Sink:
    """A transport that takes everything."""

    def write(self, data: bytes) -> None:
        return None

    def abort(self) -> None:
        return None


def test_an_instance_that_hangs_is_left_alone_after_three_missed_deadlines(server: str) -> None:
    film = Journey("film", "/film")

    @film.part(deadline="30ms", fallback=None)
    async def details(echo):
        return (await echo.get("/films")).json()["path"]

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(600)

    async def main() -> None:
        async with raw(silence) as hung:
            application = build([film], services={"echo": HTTP([(hung, 0), (server, 1)], name="echo")})
            found = []
            for _ in range(5):
                outcome = await ask(application, "GET", "/film", {}, None, Outcome())
                found.append(outcome.body["details"])
            assert found == [None, None, None, "/films", "/films"]
            await application.stop()

    run(main())


def test_paths_of_calls_are_not_kept() -> None:
    before = len(target._templates)
    for number in range(50):
        assert target.target_of(f"/films/{number}", {"q": 1}) == f"/films/{number}?q=1"
    assert target.target_of("/films/{id}/x", {"id": "a/b"}) == "/films/a%2Fb/x"
    assert len(target._templates) <= before + 1
