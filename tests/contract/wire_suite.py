"""What HTTP/1.1 and HTTP/2 demand of everything that a client's bytes meet first (RFC 9110, 9112, 9113)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from answer_cases import TOLD
from answers_suite import Answers
from edge import Line, Seen
from hyperframe.frame import Frame
from requests_suite import Requests
from semantics_suite import Semantics
from wire import HTTP2, Reply, http1
from wire_cases import FRAMED, MALFORMED, PSEUDO, REFUSED, Fields

from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Service, Stack
from tierline.tiers.base import system
from workbench import eventually

TIERS = {"cdn": CDN, "lb": LoadBalancer, "cache": HTTPCache, "gateway": Gateway}


class WireContract(Semantics, Requests, Answers):
    """A subclass names its tier and system."""

    tier: ClassVar[str]
    system: ClassVar[str]
    line: ClassVar[Line]
    found: ClassVar[dict[str, Future[list[Reply]]]]

    @pytest.fixture(scope="class", autouse=True)
    def _line(self, request: pytest.FixtureRequest) -> Iterator[None]:
        stack = Stack(
            "wire", dns=DNS("wire.test"), services=[Service("web", "web:app", expose=["/"])], zones=["a"],
            **{self.tier: TIERS[self.tier]()},
        )  # fmt: skip
        line = Line(stack, self.tier, {self.tier: self.system})
        request.cls.line = line
        try:
            line.start()
            # All at once: some engines take a second to hang up.
            with ThreadPoolExecutor(24) as pool:
                request.cls.found = {name: pool.submit(self.tried, name) for name in self.cases()}
            with ThreadPoolExecutor(24) as pool:
                request.cls.answered = {name: pool.submit(self.told, name) for name in TOLD}
            yield
        finally:
            line.close()

    @classmethod
    def cases(cls) -> list[str]:
        return [*REFUSED, *FRAMED]

    def tried(self, name: str) -> list[Reply]:
        case = {**REFUSED, **FRAMED}[name]
        return http1(self.at, case.sent.replace(b"{p}", f"/wire/{name}".encode()))

    @property
    def at(self) -> tuple[str, int]:
        return self.line.entry("http")

    def declared(self, name: str, holds: bool, why: str) -> None:
        """What a system declares to lack must really fail."""
        lacks = system(self.tier, self.system).lacks
        if f"wire-{name}" in lacks:
            assert not holds, f"{name} holds now: take it out of `lacks` of {self.tier}.{self.system}"
            pytest.xfail(lacks[f"wire-{name}"])
        assert holds, why

    def seen(self, path: str) -> list[Seen]:
        return [
            each
            for each in self.line.upstreams.seen
            if (
                path == each.path.split("?")[0].split(" ")[0][: len(path)]
                and each.path[len(path) : len(path) + 1] in ("", "/", " ", "%", "x", "\r", "\0", "\x01")
            )
            or (each.header("x-case") or "") == path
        ]

    @pytest.mark.parametrize("name", REFUSED)
    def test_what_is_malformed_is_refused(self, name: str) -> None:
        case, path, answers = REFUSED[name], f"/wire/{name}", self.found[name].result()
        statuses = [each.status for each in answers]
        reached = self.seen(path)
        fine = not reached and len(statuses) <= 1 and all(400 <= status < 600 for status in statuses)
        if case.clean and reached:
            fine = all(_clean(each) for each in reached)
        self.declared(name, fine, f"RFC {case.section}: {case.says}: {statuses}, the service saw {reached}")

    @pytest.mark.parametrize("name", FRAMED)
    def test_two_framings_end_the_connection(self, name: str) -> None:
        case, path, answers = FRAMED[name], f"/wire/{name}", self.found[name].result()
        reached = [each for each in self.seen(path) if "smuggled" in each.path]
        fine = not reached and len(answers) <= 1
        self.declared(
            name, fine, f"RFC {case.section}: {case.says}: {[a.status for a in answers]}, saw {reached}"
        )

    def ask(self, path: str, *fields: str, method: str = "GET") -> Reply:
        """One HTTP/1.1 request with these lines."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *fields]
        answers = http1(self.at, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), method=method)
        return answers[0] if answers else Reply()

    def test_fields_of_the_clients_connection_go_no_further(self) -> None:
        """RFC 9110, 7.6.1."""
        path = "/hop/request"
        answer = self.ask(
            path, "Connection: close, x-hop, keep-alive, te", "X-Hop: 1", "X-Kept: 1", "Keep-Alive: timeout=77",
            "Proxy-Connection: keep-alive", "TE: gzip", "Upgrade: h2c, foo/2",
        )  # fmt: skip
        assert answer.status == 200
        (seen,) = self.seen(path)
        assert seen.header("x-kept") == "1"
        for name, bad in (
            ("keep-alive", "77"), ("proxy-connection", "keep-alive"), ("te", "gzip"), ("upgrade", "h2c"),
            ("connection", "x-hop"),
        ):  # fmt: skip
            assert bad not in (seen.header(name) or ""), (name, seen.headers)

    def test_fields_that_the_clients_connection_names_go_no_further(self) -> None:
        path = "/hop/named"
        answer = self.ask(path, "Connection: X-Hop , close,x-two", "X-Hop: 1", "x-two: 2", "X-Kept: 1")
        (seen,) = self.seen(path)
        assert answer.status == 200 and seen.header("x-kept") == "1"
        gone = seen.header("x-hop") is None and seen.header("x-two") is None
        self.declared("request-named", gone, f"the service saw {seen.headers}")

    def test_fields_of_the_services_connection_go_no_further(self) -> None:
        told = "keep-alive: timeout=77|proxy-connection: keep-alive|upgrade: h2c|x-kept: 1"
        answer = self.ask("/hop/answer", f"x-test-header: {told}", "Connection: close")
        assert answer.status == 200 and answer.header("x-kept") == "1"
        assert "77" not in (answer.header("keep-alive") or "") and not answer.header("proxy-connection")
        assert not answer.header("upgrade")

    def test_fields_that_the_services_connection_names_go_no_further(self) -> None:
        told = "connection: x-hop, keep-alive|x-hop: 1|x-kept: 1"
        answer = self.ask("/hop/named-answer", f"x-test-header: {told}", "Connection: close")
        assert answer.status == 200 and answer.header("x-kept") == "1"
        self.declared("answer-named", answer.header("x-hop") is None, str(answer.headers))

    def test_nobody_names_away_what_the_line_says(self) -> None:
        """A client can't have its address, its trace or the message's frame removed by naming them in Connection."""
        path = "/hop/abuse"
        names = (
            "Host, X-Forwarded-For, X-Forwarded-Proto, Traceparent, Content-Length, Via, X-Tierline-Claims"
        )
        sent = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close, {names}\r\nContent-Length: 3\r\n"
            f"X-Tierline-Claims: {{}}\r\n\r\nabc"
        )
        (answer,) = http1(self.at, sent.encode())
        if 400 <= answer.status < 500:
            assert not self.seen(path)
            return
        (seen,) = self.seen(path)
        assert (answer.status, seen.body) == (200, b"abc")
        wanted = {"host"}
        if self.tier in ("lb", "cdn"):
            lacks = system(self.tier, self.system).lacks
            wanted |= {"x-forwarded-for"} | (set() if "trace_begin" in lacks else {"traceparent"})
        assert not [name for name in wanted if not seen.header(name)], seen.headers
        if self.tier in ("lb", "cdn"):
            assert seen.header("x-forwarded-proto") and not seen.header("x-tierline-claims"), seen.headers

    @pytest.mark.parametrize("method", ["PROPFIND", "QUERY", "FOO", "M-SEARCH", "PATCH", "REPORT"])
    def test_methods_arrive_as_sent(self, method: str) -> None:
        """RFC 9110, 9.1: a service knows its own methods; what it doesn't know it answers with 501 itself."""
        path = f"/method/{method}"
        # QUERY is nothing without a kind of content (RFC 9110's registry: draft-ietf-httpbis-safe-method-w-body, 2).
        answer = self.ask(path, "Content-Type: a/b", "Content-Length: 0", "Connection: close", method=method)
        self.declared(
            "methods", (answer.status, [s.method for s in self.seen(path)]) == (200, [method]), str(answer)
        )


class HTTP2WireContract(WireContract):
    """Of systems that clients reach by HTTP/2."""

    @classmethod
    def cases(cls) -> list[str]:
        return [*super().cases(), *MALFORMED]

    def tried(self, name: str) -> list[Reply]:
        if name not in MALFORMED:
            return super().tried(name)
        case = MALFORMED[name]
        return [self.ask2(f"/wire/{name}", case.fields, case.data, case.trailers)]

    def ask2(
        self, path: str, fields: Fields, data: bytes | None = None, trailers: Fields | None = None
    ) -> Reply:
        """One HTTP/2 request on a connection of its own, all frames in one write."""
        fields = [(name, value.replace("{p}", path)) for name, value in fields]
        pseudo = (
            []
            if fields and fields[0][0].startswith(":")
            else [(n, v.replace("{p}", path)) for n, v in PSEUDO]
        )
        tls = self.tier in ("cdn", "lb")
        with HTTP2(self.line.entry("https") if tls else self.at, tls=tls) as client:
            frames: list[Frame] = [client.headers([*pseudo, *fields], end=data is None)]
            if data is not None:
                frames.append(client.data(data, end=trailers is None))
            if trailers is not None:
                frames.append(client.headers(trailers))
            client.send(*frames)
            return client.read()

    @pytest.mark.parametrize("name", MALFORMED)
    def test_malformed_http2_is_refused(self, name: str) -> None:
        case, path, (reply,) = MALFORMED[name], f"/wire/{name}", self.found[name].result()
        reached = self.seen(path)
        refused = 400 <= reply.status < 600 or (reply.status == 0 and reply.ended != "")
        why = f"RFC {case.section}: {case.says}: {reply.status} {reply.ended}, the service saw {reached}"
        if case.clean and reached:
            refused, reached = all(_clean(each) for each in reached), []
        self.declared(name, refused and not reached, why)

    def test_data_after_the_end_reaches_nobody(self) -> None:
        """RFC 9113, 5.1: a stream that has ended takes no more."""
        path = "/malformed/h2-after-end"
        fields = [(n, v.replace("{p}", path)) for n, v in PSEUDO]
        fields[0] = (":method", "POST")
        tls = self.tier in ("cdn", "lb")
        with HTTP2(self.line.entry("https") if tls else self.at, tls=tls) as client:
            client.send(
                client.headers(fields, end=False), client.data(b"abc"), client.data(b"evil", end=False)
            )
            client.read()
        assert not [each for each in self.seen(path) if b"evil" in each.body]
        assert not [each for each in self.line.upstreams.seen if "evil" in each.method]

    @pytest.mark.parametrize("length", ["2", "10"])
    def test_a_length_that_turns_out_wrong_ends_the_stream(self, length: str) -> None:
        path = f"/malformed/h2-later-{length}"
        fields = [(n, v.replace("{p}", path)) for n, v in PSEUDO] + [("content-length", length)]
        fields[0] = (":method", "POST")
        tls = self.tier in ("cdn", "lb")
        with HTTP2(self.line.entry("https") if tls else self.at, tls=tls) as client:
            client.send(client.headers(fields, end=False), client.data(b"ab", end=False))
            client.read(patience=0.2)
            client.send(client.data(b"c"))
            reply = client.read()
        assert not [each for each in self.seen(path) if each.body != b"ab"], self.seen(path)
        assert length == "2" or reply.status != 200, reply

    @pytest.mark.parametrize("name", [name for name, case in TOLD.items() if not case.status])
    def test_no_broken_answer_is_whole_over_http2(self, name: str) -> None:
        """RFC 9113, 8.1.1: an error, or a stream that doesn't end as if it were whole."""
        case = TOLD[name]
        told = [
            ("x-test-raw", quote(case.sent, safe="")),
            *([("x-test-raw-close", "1")] if case.close else []),
        ]
        reply = self.ask2(f"/told2/{name}", told)
        fine = reply.status >= 500 or reply.ended != "end"
        self.declared(f"h2-answer-{name}", fine, f"RFC {case.section}: {case.says}: {reply}")

    def test_cookies_in_pieces_are_one_field(self) -> None:
        """RFC 9113, 8.2.3: before they go on over HTTP/1.1."""
        assert (
            self.ask2("/cookies/http2", [("cookie", "a=1"), ("x-a", "b"), ("cookie", "b=2; c=3")]).status
            == 200
        )
        (seen,) = self.seen("/cookies/http2")
        assert [value for name, value in seen.headers if name.lower() == "cookie"] == ["a=1; b=2; c=3"]

    def test_extended_connect_to_a_plain_service_is_no_tunnel(self) -> None:
        """RFC 8441, 4, and 9220: a 2xx says that there is one."""
        fields = [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/extended"),
            (":authority", "localhost"), ("sec-websocket-version", "13"), ("x-test-plain", "1"),
        ]  # fmt: skip
        tls = self.tier in ("cdn", "lb")
        with HTTP2(self.line.entry("https") if tls else self.at, tls=tls) as client:
            client.send(client.headers(fields, end=False))
            reply = client.read(patience=3)
        assert not 200 <= reply.status < 300, reply

    def test_fields_that_the_services_connection_names_end_before_http2(self) -> None:
        told = "connection: x-hop, keep-alive|x-hop: 1|keep-alive: timeout=77|x-kept: 1"
        # What was malformed before may have cost an instance a second of its balancer's trust.
        assert eventually(lambda: self.ask2("/hop/ready", []).status == 200)
        reply = self.ask2("/hop/http2", [("x-test-header", told)])
        assert reply.status == 200 and reply.header("x-kept") == "1"
        assert not reply.header("connection") and not reply.header("keep-alive")
        self.declared("answer-named", reply.header("x-hop") is None, str(reply.headers))


def _clean(seen: Seen) -> bool:
    """Whether nothing of a malformed line is in it."""
    written = [seen.path, *(text for field in seen.headers for text in field)]
    if len([name for name, _ in seen.headers if name.lower() == "host"]) != 1:
        return False
    names = {name.lower() for name, _ in seen.headers}
    return not any(set(text) & set("\r\n\0") for text in written) and not names & {
        "x-tierline-claims",
        "x",
        "",
    }
