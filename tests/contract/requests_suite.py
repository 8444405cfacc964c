"""What RFC 9110 and 9112 demand with MUST of an intermediary for what a client asks, and of the answers that it makes
itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import pytest
from wire import Reply, http1

if TYPE_CHECKING:
    from edge import Line, Seen

_HOST = b"Host: localhost\r\n"
_CLOSE = b"Connection: close\r\n\r\n"


class Requests:
    """A part of WireContract."""

    tier: ClassVar[str]
    line: ClassVar[Line]
    at: tuple[str, int]
    seen: Callable[[str], list[Seen]]
    declared: Callable[[str, bool, str], None]
    ask: Callable[..., Reply]

    def test_via_says_what_a_request_came_through(self) -> None:
        """RFC 9110, 7.6.3: a gateway says so in each request, after who came before, and names no host of the line."""
        answer = self.ask("/via/request", "Via: 1.0 fred, 1.1 p.example", "Connection: close")
        (seen,) = self.seen("/via/request")
        told = [each.strip() for each in (seen.header("via") or "").split(",")]
        fine = told[:2] == ["1.0 fred", "1.1 p.example"] and len(told) > 2
        fine = fine and all("tierline" in each and "." not in each.split()[1] for each in told[2:])
        self.declared("via", answer.status == 200 and fine, str(told))

    def test_via_of_an_answer_names_no_host(self) -> None:
        answer = self.ask("/via/answer", "x-test-header: via: 1.1 service", "Connection: close")
        told = (answer.header("via") or "").split(",")
        assert all(
            word in ("1.1 service", "") or "tierline" in word for word in (each.strip() for each in told)
        ), told

    @pytest.mark.parametrize("number", ["0", "1", "7"])
    def test_max_forwards_counts_who_passes_options_on(self, number: str) -> None:
        """RFC 9110, 7.6.2: 0 goes no further, and each other number is one less."""
        path = f"/max-forwards/{number}"
        answer = self.ask(path, f"Max-Forwards: {number}", "Connection: close", method="OPTIONS")
        reached = [each.header("max-forwards") for each in self.seen(path)]
        fine = all(int(each or number) < int(number) for each in reached)
        # A tier of two engines may count twice.
        fine = fine and bool(reached or number != "7")
        self.declared("max-forwards", fine, f"{answer.status}, {reached}")

    def test_max_forwards_of_other_methods_is_nobodys(self) -> None:
        answer = self.ask("/max-forwards/get", "Max-Forwards: 0", "Connection: close")
        assert answer.status == 200 and self.seen("/max-forwards/get")

    def test_lines_of_a_field_keep_their_order(self) -> None:
        """RFC 9110, 5.3."""
        answer = self.ask(
            "/odd/order", "X-A: 1", "X-B: x", "X-A: 2, 3", "X-A:", "X-A: 4", "Connection: close"
        )
        (seen,) = self.seen("/odd/order")
        found = [each for each in (seen.header("x-a") or "").replace(" ", "").split(",") if each]
        assert answer.status == 200 and found == ["1", "2", "3", "4"], seen.headers

    def test_a_body_of_get_arrives(self) -> None:
        """RFC 9110, 9.3.1: it frames the message, whatever it means."""
        sent = b"GET /odd/get-body HTTP/1.1\r\n" + _HOST + b"Content-Length: 3\r\n" + _CLOSE + b"abc"
        answers = http1(self.at, sent)
        reached = [each.body for each in self.seen("/odd/get-body")]
        assert len(answers) == 1 and (answers[0].status >= 400 or reached in ([b"abc"], [b""])), answers

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """RFC 9112, 9.3.2."""
        asked = [
            b"%s /odd/pipe-%d HTTP/1.1\r\n" % (method, n) + _HOST + more
            for n, (method, more) in enumerate(
                [
                    (b"GET", b"\r\n"),
                    (b"POST", b"Content-Length: 3\r\n\r\nabc"),
                    (b"POST", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
                    (b"DELETE", b"\r\n"),
                    (b"GET", _CLOSE),
                ]
            )
        ]
        if self.tier == "gateway":
            asked.pop(2)  # a gateway may want to know how long a body is
        answers = http1(self.at, b"".join(asked))
        found = [json.loads(each.body)["path"] for each in answers if each.status == 200]
        wanted = [each.split(b" ")[1].decode() for each in asked]
        # Who takes no more after an unsafe request closes, and the client asks again.
        assert found and found == wanted[: len(found)], [(each.status, each.body) for each in answers]

    @pytest.mark.parametrize(
        "number, query", list(enumerate(["a=%2F%20+b&c", "?x?", "a=b;c", "a=%zz", "", "a='b'|c^`{}\"<>\\"]))
    )
    def test_a_query_goes_on_as_it_is(self, number: int, query: str) -> None:
        """RFC 9110, 7.7."""
        path = f"/query-{number}?{query}"
        answer = self.ask(path, "Connection: close")
        reached = [each.path for each in self.line.upstreams.seen if each.path.startswith(f"/query-{number}")]
        strange = any(letter in query for letter in '"<>\\^`{|}')
        fine = (answer.status, reached) == (200, [path]) or (strange and not reached)
        name = {"": "query-empty", "a=b;c": "query-semicolon"}.get(query, "query")
        self.declared(name, fine, f"{answer.status} {reached}")

    def test_a_fragment_is_none_of_a_targets(self) -> None:
        """RFC 9112, 3.2: refused, or taken out."""
        answer = self.ask("/odd/fragment#part", "Connection: close")
        reached = [each.path for each in self.line.upstreams.seen if each.path.startswith("/odd/fragment")]
        self.declared("fragment", all("#" not in each for each in reached), f"{answer.status} {reached}")

    def test_a_method_in_small_letters_is_another_one(self) -> None:
        """RFC 9110, 9.1."""
        answer = self.ask("/odd/small", "Connection: close", method="get")
        reached = [each.method for each in self.seen("/odd/small")]
        assert "GET" not in reached and (reached == ["get"] or answer.status >= 400), (answer, reached)

    def test_who_speaks_1_0_gets_no_interim_answer(self) -> None:
        """RFC 9110, 10.1.1 and 15.2."""
        sent = (
            b"POST /odd/expect10 HTTP/1.0\r\n"
            + _HOST
            + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
        )
        (answer,) = http1(self.at, sent)
        self.declared("http10", answer.status != 426, str(answer))
        self.declared("http10-interim", answer.interim == [] and answer.status in (200, 417), str(answer))

    def test_an_expectation_without_a_body_waits_for_nothing(self) -> None:
        """RFC 9110, 10.1.1: an answer comes all the same."""
        answer = self.ask("/odd/expect-get", "Expect: 100-continue", "Connection: close")
        assert answer.status in (200, 417), answer

    def test_an_unknown_expectation_is_refused_or_passed_on(self) -> None:
        answer = self.ask("/odd/expect-other", "Expect: milk", "Connection: close")
        assert answer.status in (200, 417), answer

    def test_what_is_allowed_is_said_with_405(self) -> None:
        """RFC 9110, 15.5.6."""
        unsaid: list[tuple[str, Reply]] = []
        for method in ("TRACE", "PURGE", "BAN", "CONNECT", "PURGEKEY"):
            answer = self.ask("/odd/allowed", "Connection: close", method=method)
            if answer.status == 405 and not answer.header("allow"):
                unsaid.append((method, answer))
        self.declared("allow", not unsaid, str(unsaid))

    def test_its_own_refusals_say_when(self) -> None:
        """RFC 9110, 6.6.1: who has a clock dates what it answers."""
        answer = self.ask("/odd/refused", "Connection: close", method="TRACE")
        assert answer.status >= 400 and len(answer.all("date")) == 1, answer
        sent = b"GET /odd/refused HTTP/1.1\r\nHost: a b\r\n" + _CLOSE
        (answer,) = http1(self.at, sent)
        assert 400 <= answer.status < 500
        self.declared("date-refused", len(answer.all("date")) == 1, str(answer))

    def test_a_range_of_what_is_no_get_is_ignored(self) -> None:
        """RFC 9110, 14.2."""
        sent = (
            b"POST /odd/range HTTP/1.1\r\n"
            + _HOST
            + b"Range: bytes=0-1\r\nX-Test-Echo: plain\r\nContent-Length: 6\r\n"
            + _CLOSE
            + b"abcdef"
        )
        (answer,) = http1(self.at, sent, method="POST")
        assert (answer.status, answer.body) == (200, b"abcdef"), answer

    def test_what_must_not_be_transformed_is_not(self) -> None:
        """RFC 9110, 7.7 and 9111, 5.2.2.6."""
        kept = "x" * 3000
        answer = self.ask(
            f"/odd/transform?{kept}",
            'x-test-header: cache-control: no-transform|etag: "a"',
            "Accept-Encoding: gzip, br",
            "Connection: close",
        )
        fine = answer.header("content-encoding") is None and answer.header("etag") == '"a"'
        self.declared("no-transform", answer.status == 200 and fine, str(answer.headers))

    def test_a_coded_answer_is_another_representation(self) -> None:
        """RFC 9110, 8.8.1 and 12.5.5: who codes an answer makes its tag weak or another, and says Vary."""
        answer = self.ask(
            f"/odd/coded?{'x' * 3000}",
            'x-test-header: etag: "a"',
            "Accept-Encoding: gzip, br",
            "Connection: close",
        )
        if answer.header("content-encoding"):
            assert answer.header("etag") != '"a"', answer.headers
            assert "accept-encoding" in (answer.header("vary") or "").lower(), answer.headers

    def test_warning_and_pragma_are_fields_as_any(self) -> None:
        """RFC 9111, 5.4 and 5.5: Warning is gone, nobody here adds it; Pragma goes on."""
        answer = self.ask("/odd/pragma", "Pragma: x-own", "Connection: close")
        (seen,) = self.seen("/odd/pragma")
        assert answer.header("warning") is None and seen.header("pragma") == "x-own"
