"""What RFC 9110 and 9112 demand with MUST of what isn't malformed, only unusual."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from wire import Reply, http1, replies_of

if TYPE_CHECKING:
    from edge import Line, Seen

_HOST = b"Host: localhost\r\n"


class Semantics:
    """A part of WireContract."""

    line: ClassVar[Line]
    at: tuple[str, int]
    seen: Callable[[str], list[Seen]]
    declared: Callable[[str, bool, str], None]
    ask: Callable[..., Reply]

    def exchange(self, head: bytes, body: bytes) -> list[Reply]:
        """The head, then, once something came back, the body."""
        data = b""
        with socket.create_connection(self.at, timeout=5) as sock:
            sock.sendall(head)
            sock.settimeout(4)
            with contextlib.suppress(OSError):
                data = sock.recv(65536)
            sock.sendall(body)
            with contextlib.suppress(OSError):
                while chunk := sock.recv(65536):
                    data += chunk
                    sock.settimeout(0.5)
        return replies_of(data, "POST")

    def test_an_empty_line_before_a_request_is_ignored(self) -> None:
        """RFC 9112, 2.2."""
        sent = b"\r\nGET /odd/empty-line HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n"
        answers = http1(self.at, sent)
        self.declared("empty-line", [each.status for each in answers] == [200], str(answers))

    def test_an_absolute_target_says_the_host(self) -> None:
        """RFC 9112, 3.2.2: a proxy replaces Host by the target's, and an origin ignores the field."""
        sent = (
            b"GET http://localhost/odd/absolute HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
        )
        (answer,) = http1(self.at, sent)
        reached = self.seen("/odd/absolute")
        refused = 400 <= answer.status < 500 and not reached
        served = [(each.path, each.header("host")) for each in reached] == [("/odd/absolute", "localhost")]
        self.declared("absolute-target", refused or (answer.status == 200 and served), f"{answer} {reached}")

    def test_options_of_the_whole_server_is_answered(self) -> None:
        """RFC 9112, 3.2.4."""
        answers = http1(self.at, b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"Connection: close\r\n\r\n")
        fine = len(answers) == 1 and answers[0].status < 500
        self.declared("options-server", fine, str(answers))
        assert not [
            each
            for each in self.line.upstreams.seen
            if each.method == "OPTIONS"
            and each.path not in ("*", "/")
            and not each.path.startswith("/max-forwards/")
        ]

    def test_who_expects_100_gets_an_answer_before_the_body(self) -> None:
        """RFC 9110, 10.1.1."""
        head = (
            b"POST /odd/expect HTTP/1.1\r\n"
            + _HOST
            + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        (answer,) = self.exchange(head, b"abc")
        assert answer.status == 200 and json.loads(answer.body)["body"] == 3
        self.declared("expect", answer.interim == [100], str(answer))

    def test_http_1_0_gets_no_chunks(self) -> None:
        """RFC 9112, 6.1, and 9.3: without keep-alive the connection ends."""
        body = b"y" * 3000
        sent = (
            b"POST /odd/http10 HTTP/1.0\r\n"
            + _HOST
            + b"X-Test-Echo: chunked\r\nContent-Length: 3000\r\n\r\n"
            + body
        )
        (answer,) = http1(self.at, sent)
        self.declared("http10", answer.status != 426, str(answer))
        assert (answer.status, answer.body) == (200, body), answer
        self.declared("http10-chunks", answer.header("transfer-encoding") is None, str(answer))

    def test_http_1_0_keeps_alive_when_asked(self) -> None:
        get = b"GET /odd/kept HTTP/1.0\r\n" + _HOST + b"Connection: keep-alive\r\n\r\n"
        answers = http1(self.at, get + get)
        self.declared("http10", [each.status for each in answers] != [426], str(answers))
        assert [each.status for each in answers] in ([200, 200], [200]), answers
        if len(answers) == 1:
            assert "keep-alive" not in (answers[0].header("connection") or "").lower(), answers

    def test_the_answer_to_head_has_no_body(self) -> None:
        """RFC 9110, 9.3.2: what follows on the connection is the next answer."""
        sent = (
            b"HEAD /odd/head HTTP/1.1\r\n"
            + _HOST
            + b"\r\nHEAD /odd/head HTTP/1.1\r\n"
            + _HOST
            + b"Connection: close\r\n\r\n"
        )
        answers = http1(self.at, sent, method="HEAD")
        assert [(each.status, each.body) for each in answers] == [(200, b""), (200, b"")], answers

    def test_unknown_chunk_extensions_are_ignored(self) -> None:
        """RFC 9112, 7.1.1."""
        chunked = b'3;a="b;c"\r\nabc\r\n0;x\r\n\r\n'
        sent = (
            b"POST /odd/extension HTTP/1.1\r\n"
            + _HOST
            + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunked
        )
        (answer,) = http1(self.at, sent)
        reached = [each.body for each in self.seen("/odd/extension")]
        fine = (answer.status, reached) == (200, [b"abc"]) or (answer.status == 411 and not reached)
        self.declared("chunk-extension", fine, f"{answer} {reached}")

    def test_trailers_are_no_fields(self) -> None:
        """RFC 9110, 6.5.1: they aren't merged, least of all what frames, routes or authenticates."""
        trailers = b"X-Tierline-Claims: {}\r\nContent-Length: 9\r\nHost: other\r\nAuthorization: x\r\n"
        sent = (
            b"POST /odd/trailers HTTP/1.1\r\n"
            + _HOST
            + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
            + trailers
            + b"\r\n"
        )
        http1(self.at, sent)
        for each in self.seen("/odd/trailers"):
            assert each.body == b"abc" and each.header("host") == "localhost", each
            assert not each.header("authorization") and not each.header("x-tierline-claims"), each

    def test_a_list_of_equal_lengths_is_one_or_none(self) -> None:
        """RFC 9112, 6.3."""
        for number, lengths in enumerate(
            (b"Content-Length: 3, 3\r\n", b"Content-Length: 3\r\nContent-Length: 3\r\n")
        ):
            path = f"/odd/lengths-{number}"
            sent = (
                f"POST {path} HTTP/1.1\r\n".encode() + _HOST + b"Connection: close\r\n" + lengths + b"\r\nabc"
            )
            answers = http1(self.at, sent)
            for each in self.seen(path):
                assert each.body == b"abc" and each.header("content-length") in ("3", None), each
            assert [each.status for each in answers] in ([200], [400]), answers

    def test_a_folded_field_is_refused_or_made_one_line(self) -> None:
        """RFC 9112, 5.2."""
        sent = b"GET /odd/fold HTTP/1.1\r\n" + _HOST + b"X-A: b\r\n c\r\nConnection: close\r\n\r\n"
        answers = http1(self.at, sent)
        reached = self.seen("/odd/fold")
        fine = all((each.header("x-a") or "b c").split() == ["b", "c"] for each in reached)
        assert fine and [each.status for each in answers] in ([200], [400]), (answers, reached)

    def test_an_answer_without_a_date_gets_one(self) -> None:
        """RFC 9110, 6.6.1."""
        answer = self.ask(
            "/odd/date", "X-Test-Echo: plain", "Content-Length: 0", "Connection: close", method="POST"
        )
        self.declared("date", answer.status == 200 and len(answer.all("date")) == 1, str(answer))

    def test_an_unknown_content_coding_goes_on(self) -> None:
        """RFC 9110, 8.4: it is the recipient's."""
        answer = self.ask(
            "/odd/coding",
            "x-test-header: content-encoding: zork",
            "Accept-Encoding: gzip, zork",
            "Connection: close",
        )
        assert (
            answer.header("content-encoding") == "zork" and json.loads(answer.body)["path"] == "/odd/coding"
        )
