"""Where gateway.haproxy's bodies go a way of their own (engines/haproxy/bodies.lua): its program speaks HTTP with the
gateway's second frontend, so what services may answer is tried in full."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import stick_tables
from feature_suite import Contract

from tierline import Canary, Gateway, RateLimit, Route, Service, Stack
from waiting import PATIENCE, eventually

CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
CHUNK = b'11;a=b;c="d"\r\n{"film":{"id":7}}\r\n'
HIDDEN = b"GET /asked?hidden HTTP/1.1\r\nhost: x\r\n\r\n"

ROLE = "echo.a"
TEMPLATE = {"film": "{film.id}"}
GOOD = b'{"film":{"id":7}}'


class TestHAProxyBodiesOnTheWay(Contract):
    system = "haproxy"

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                routes=[
                    Route("/answers", to="echo", response_body=TEMPLATE, timeout="1s", rewrite="/films"),
                    Route("/asked", to="echo", request_body=TEMPLATE),
                    Route("/canary", to="echo", request_body=TEMPLATE, canary=Canary("new", header="x-new")),
                ],
                limits=[RateLimit(1000, per="60s", by="all")],
                response={"x-gateway": "yes"},
            ),
            services=[Service("echo", "app:app"), Service("new", "app:app")],
            zones=["a"],
        )  # fmt: skip

    @contextmanager
    def answering(self, *pieces: bytes, wait: Callable[[], object] = int) -> Iterator[list[bytes]]:
        """The service is one that says these bytes, with a wait between, and closes. Yields what it was asked."""
        asked: list[bytes] = []
        self.line.upstreams.kill(ROLE)
        server = socket.create_server(self.line.addresses[(ROLE, "http")])
        server.settimeout(0.1)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    sock, _ = server.accept()
                except TimeoutError:
                    continue
                with sock:
                    sock.settimeout(PATIENCE)
                    try:
                        head = sock.recv(65536)
                    except OSError:
                        continue
                    if not head:
                        continue  # a health check
                    asked.append(head)
                    for piece in pieces:
                        sock.sendall(piece)
                        wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            self.is_up()
            yield asked
        finally:
            done.set()
            thread.join()
            server.close()
            self.line.upstreams.heal(ROLE)
            self.is_up()

    def is_up(self) -> None:
        """Until HAProxy gives requests to the service."""

        def answered() -> bool:
            states = stick_tables.command(self.line, "a", "show servers state").splitlines()
            mine = [each.split() for each in states if ROLE in each.split()]
            return bool(mine) and all(each[5] == "2" for each in mine)

        assert eventually(answered), stick_tables.command(self.line, "a", "show servers state")

    def test_an_answers_headers_go_on(self) -> None:
        head = (
            b"HTTP/1.1 201 Made\r\ncontent-type: application/vnd.film+json\r\nset-cookie: a=1\r\nset-cookie: b=2, 3\r\n"
            b'etag: "e"\r\ncontent-digest: x\r\ncontent-length: %d\r\n\r\n' % len(GOOD)
        )
        with self.answering(head + GOOD) as asked:
            answer = self.client.get("/answers/7?x=1&y=%2F", headers={"x-two": "a, b", "user-agent": "me"})
        assert (answer.status_code, answer.json()) == (201, {"film": 7})
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2, 3"]
        assert answer.headers["etag"] == '"e"' and "content-digest" not in answer.headers
        assert answer.headers["x-gateway"] == "yes" and answer.headers["ratelimit-limit"] == "1000"
        assert asked[0].startswith(b"GET /films/7?x=1&y=%2F HTTP/1.1\r\n")
        seen = dict(line.split(b": ", 1) for line in asked[0].strip().split(b"\r\n")[1:])
        assert seen[b"x-two"] == b"a, b" and seen[b"user-agent"] == b"me" and b"content-length" not in seen
        assert seen[b"x-forwarded-for"] == b"127.0.0.1" and b"traceparent" in seen
        assert not [name for name in seen if name.startswith(b"x-tierline")]

    @pytest.mark.parametrize(
        "head",
        [
            b"304 Not Modified\r\ncontent-length: 900",
            b"204 No Content\r\nx-a: 1",
            b"404 Gone\r\ncontent-length: 0",
        ],
    )
    def test_an_answer_without_a_body_stays_one(self, head: bytes) -> None:
        with self.answering(b"HTTP/1.1 " + head + b"\r\n\r\n"):
            answer = self.client.get("/answers")
        assert (str(answer.status_code), answer.content) == (head[:3].decode(), b"")

    @pytest.mark.parametrize("how", ["length", "chunks"])
    def test_an_answer_that_breaks_off_is_not_taken_for_whole(self, how: str) -> None:
        framing = b"content-length: 900" if how == "length" else b"transfer-encoding: chunked"
        body = b"1234" if how == "length" else b"4\r\n1234\r\n"
        for kind in (b"application/json", b"text/plain"):
            with self.answering(
                b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\n" + framing + b"\r\n\r\n" + body,
                wait=lambda: time.sleep(0.2),  # slow: it breaks off after the head has gone on
            ):
                if kind == b"application/json":
                    self.refused(self.client.get("/answers"), 502)
                else:
                    with pytest.raises(httpx.RemoteProtocolError):
                        self.client.get("/answers")

    @pytest.mark.parametrize("path", ["/answers", "/asked"])
    def test_what_is_not_shaped_flows(self, path: str) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        sent, arrived = iter((b"head", b"first", b"end")), threading.Event()

        def wait() -> None:
            if next(sent) == b"first":
                assert arrived.wait(30), "the first piece is kept back until the last has come"

        with self.answering(head, b"5\r\nfirst\r\n", b"3\r\nend\r\n0\r\n\r\n", wait=wait):
            found = []
            with self.client.stream("POST", path, json={"film": {"id": 1}}) as answer:
                for piece in answer.iter_raw():
                    found.append(piece)
                    arrived.set()
        assert found == [b"first", b"end"]

    def test_a_large_answer_that_is_not_shaped_goes_through(self) -> None:
        body = b"x" * (6 << 20)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % len(body)
        with self.answering(head, body):
            answer = self.client.get("/answers")
        assert answer.content == body and answer.headers["content-length"] == str(len(body))

    def test_a_deadline_holds(self) -> None:
        self.refused(self.client.get("/answers", headers={"x-test-hold": "late"}), 504)
        self.line.upstreams.release("late")

    def test_who_is_not_there_is_told(self) -> None:
        self.line.upstreams.kill(ROLE)
        try:
            self.refused(self.client.post("/asked", json={"film": {"id": 1}}), 503)
        finally:
            self.line.upstreams.heal(ROLE)
            self.is_up()

    def test_a_canary_is_one(self) -> None:
        answer = self.client.post("/canary", json={"film": {"id": 1}}, headers={"x-new": "1"})
        assert answer.json()["role"] == "new.a"
        assert json.loads(self.line.upstreams.seen[-1].body) == {"film": 1}

    def test_other_bodies_are_bounded_as_ever(self) -> None:
        answer = self.client.request("DELETE", "/asked", content=iter([b"x"]))
        self.refused(answer, 411)
        answer = self.client.post(
            "/asked", content=iter([b"[" + b"1," * 3_000_000]), headers={"content-type": "application/json"}
        )
        self.refused(answer, 413)

    def raw(self, path: str, rest: bytes, end: bool = False) -> tuple[bytes, list[tuple[str, str, bytes]]]:
        """What is answered to these bytes on one connection, and what reached the service. end: nothing more comes."""
        before = len(self.line.upstreams.seen)
        ask = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n".encode()
        found = b""
        with socket.create_connection(self.line.address()) as sock:
            sock.settimeout(1)
            sock.sendall(ask + rest)
            if end:
                sock.shutdown(socket.SHUT_WR)
            try:
                while piece := sock.recv(65536):
                    found += piece
            except TimeoutError:
                pass  # it waits for the next request
        assert not any(
            each.header("x-evil") or each.header("x-tierline-subject")
            for each in self.line.upstreams.seen[before:]
        )
        return found, [(each.method, each.path, each.body) for each in self.line.upstreams.seen[before:]]

    @pytest.mark.parametrize("path", ["/asked", "/answers"])
    def test_nothing_hides_behind_a_body(self, path: str) -> None:
        """Framing that two could read differently (RFC 9112, section 11.2) is read once, or refused."""
        body = b'{"film":7}' if path == "/asked" else GOOD
        sent, to = b"POST", path if path == "/asked" else "/films"
        one = [(sent.decode(), to, body)]
        length = b"content-length: %d\r\n" % len(GOOD)
        for rest in (
            CHUNKED + CHUNK + b"0;x\r\n\r\n",
            CHUNKED + CHUNK + b"0\r\nx-evil: 1\r\nx-tierline-subject: eve\r\n\r\n",
            CHUNKED + b"".join(b"1\r\n%c\r\n" % each for each in GOOD) + b"0\r\n\r\n",
            b"content-length: 5\r\n" + CHUNKED + CHUNK + b"0\r\n\r\n" + HIDDEN,
            b"x-tierline-to: new\r\nx-tierline-route: canary\r\n" + length + b"\r\n" + GOOD,
        ):
            answer, seen = self.raw(path, rest)
            assert answer.startswith(b"HTTP/1.1 200 ") and seen == one, rest
        for rest in (
            b"transfer-encoding: xchunked\r\n" + length + b"\r\n" + GOOD + HIDDEN,
            b"transfer-encoding:\x0bchunked\r\n" + length + b"\r\n" + GOOD + HIDDEN,
            b"transfer-encoding: identity\r\n" + CHUNKED + CHUNK + b"0\r\n\r\n" + HIDDEN,
            b"content-length: 3\r\n" + length + b"\r\n" + GOOD + HIDDEN,
            b"x-evil : 1\r\n" + length + b"\r\n" + GOOD,
            CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n" + HIDDEN,
            CHUNKED + b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n" + HIDDEN,
            CHUNKED + CHUNK.replace(b"\r\n", b"\n") + b"0\n\n" + HIDDEN,
        ):
            answer, seen = self.raw(path, rest)
            assert (
                answer[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.1 422 ")
                and answer.count(b"HTTP/1.1 ") == 1
                and not seen
            ), rest
        whole = length + b"\r\n" + GOOD
        again = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n".encode()
        assert self.raw(path, whole + again + CHUNKED + CHUNK + b"0\r\n\r\n" + again + whole)[1] == one * 3
        hidden = HIDDEN.replace(b"/asked?hidden", path.encode())
        asked = hidden[:-2] + b"content-length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN
        assert self.raw(path, whole + asked)[1] == [*one, ("GET", to, HIDDEN)]

    @pytest.mark.parametrize("path", ["/asked", "/answers"])
    def test_a_body_that_breaks_off_goes_nowhere(self, path: str) -> None:
        for rest in (b"content-length: 90\r\n\r\n" + GOOD, CHUNKED + CHUNK, CHUNKED + b"40\r\n" + GOOD):
            assert self.raw(path, rest, end=True)[1] == [], rest
