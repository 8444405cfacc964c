"""JSON bodies shaped by templates on their way: exactly, whatever their framing, and bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from feature_suite import Contract

from tierline import JWT, Gateway, Route, Service, Stack, Version

JSON = {"content-type": "application/json"}
BAD = [
    b"{", b'{"a":}', b'{"a" 1}', b'{"a":1,}', b"[1,]", b'{"a":01}', b'{"a":1.}', b'{"a":1e}', b"nul", b"tru", b"'a'",
    b'{"a":"\n"}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'"open', b"{} {}", b"{a:1}", b"\xff", b'{"a":"\xc3\x28"}',
    b"[" * 200 + b"]" * 200, b"NaN", b"-", b"\xef\xbb\xbf{}",
]  # fmt: skip


class BodyContract(Contract):
    """Inherit it and name the system."""

    @classmethod
    def stack(cls) -> Stack:
        return Stack(
            "edge",
            gateway=Gateway(
                auth=JWT(issuer="i", audience="us", paths=["/orders/private"]),
                routes=[
                    Route(
                        "/orders/{order_id}/lines",
                        to="echo",
                        request_body={
                            "film": "{film.id}", "seats": "{seats}", "first": "{seats.0}", "order": "{order_id}",
                            "note": "order {order_id} of {customer.name}, {film.id}", "via": "{header:x-app}",
                            "page": "{query:page}", "fixed": [1, True, None, 'q"\\', "€"], "missing": "{nothing.at.all}",
                        },
                    ),
                    Route("/wrapped", to="echo", request_body={"data": "{body}"}),
                    Route("/stamped/{id}", to="echo", request_body={"id": "{id}"}),
                    Route(
                        "/answers",
                        to="echo",
                        response_body={"id": "{film.id}", "title": "<{film.title}>", "all": "{body}"},
                    ),
                    Route("/orders/private", to="echo", request_body={"data": "{body}"}),
                ],
                versions=[Version("v1"), Version("v2")],
                max_body="256KiB",
            ),
            services=[Service("echo", "app:app", expose=["/open"])],
            zones=["a"],
        )  # fmt: skip

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, content=content, headers={**JSON, **named})

    def received(self, answer: httpx.Response) -> Any:
        """The body as it reached the service."""
        assert answer.status_code == 200, answer.text
        return json.loads(self.line.upstreams.seen[-1].body)

    def test_a_requests_body_is_shaped(self) -> None:
        self.asks("transform_body")
        body = {"film": {"id": 7}, "seats": ["a1", "a2"], "customer": {"name": 'Zoë "Z"'}}
        found = self.received(self.post("/orders/o%201/lines?page=2+3", body, x_app="web"))
        assert found == {
            "film": 7, "seats": ["a1", "a2"], "first": "a1", "order": "o 1", "note": 'order o 1 of Zoë "Z", 7',
            "via": "web", "page": "2 3", "fixed": [1, True, None, 'q"\\', "€"], "missing": None,
        }  # fmt: skip
        assert self.line.upstreams.seen[-1].header("content-length") == str(
            len(self.line.upstreams.seen[-1].body)
        )
        # In every version, too.
        assert self.received(self.post("/v1/orders/9/lines", body))["order"] == "9"

    def test_values_go_on_as_they_are_written(self) -> None:
        self.asks("transform_body")
        # Larger than a double holds, more digits than it keeps, and an escape that needn't be one.
        raw = b'{"film":{"id":12345678901234567890},"seats":1.10e+2,"customer":{"name":"\\u00e9\\/"}}'
        self.received(self.post("/orders/1/lines", raw))
        sent = self.line.upstreams.seen[-1].body
        assert b'"film":12345678901234567890,"seats":1.10e+2' in sent
        assert b'of \\u00e9\\/, 12345678901234567890"' in sent
        for whole in (b"[1, 2]", b'"text"', b"null", b" 3.5 ", b'{"a":{"a":[{}]}}', b'{"a":1,"a":2}'):
            self.received(self.post("/wrapped", whole))
            assert self.line.upstreams.seen[-1].body == b'{"data":' + whole.strip() + b"}"

    def test_what_clients_write_stays_a_value(self) -> None:
        self.asks("transform_body")
        # Nothing of an address, a header or a body can end its text and begin something else.
        for name in ('","admin":true,"x":"', "\\", '\\"', "a\tb"):
            path = "/orders/" + httpx.URL("http://x/", params={"": name}).query.decode()[1:].replace(
                "+", "%20"
            )
            if "%5C" not in path and "%09" not in path:
                found = self.received(self.post(path + "/lines", {"customer": {"name": name}}))
                assert found["order"] == name
                assert found["note"] == f"order {name} of {name}, "
                assert set(found) >= {"film", "fixed"} and "admin" not in found
        found = self.received(self.post("/stamped/%ff", {}))
        assert found == {"id": "%ff"}  # no text: left as it came

    def test_chunks_make_no_difference(self) -> None:
        self.asks("transform_body")
        text = json.dumps({"film": {"id": 7}, "seats": ["x" * 500] * 100}).encode()

        def pieces() -> Iterator[bytes]:
            for at in range(0, len(text), 97):
                yield text[at : at + 97]

        answer = self.client.post("/orders/5/lines", content=pieces(), headers=JSON)
        found = self.received(answer)
        assert (found["film"], len(found["seats"])) == (7, 100)

    @pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body)[:24])
    def test_what_is_no_json_is_refused(self, body: bytes) -> None:
        self.asks("transform_body")
        before = len(self.line.upstreams.seen)
        told = self.refused(self.post("/wrapped", body), 400)
        assert "JSON" in told["detail"]
        assert len(self.line.upstreams.seen) == before

    def test_other_requests_are_left_alone_or_told(self) -> None:
        self.asks("transform_body")
        self.refused(self.post("/wrapped", b""), 400)
        form = self.client.post("/wrapped", data={"a": "1"})
        self.refused(form, 415)
        assert self.client.get("/wrapped").status_code == 200
        assert self.received(self.post("/stamped/7", b"")) == {"id": "7"}
        assert self.received(self.client.post("/stamped/7")) == {"id": "7"}
        assert self.received(self.post("/open", {"a": 1})) == {"a": 1}
        patch = self.client.patch(
            "/wrapped", content=b"1", headers={"content-type": "application/merge-patch+json"}
        )
        assert self.received(patch) == {"data": 1}

    def test_too_large_a_body_is_refused_as_ever(self) -> None:
        self.asks("transform_body")
        assert len(self.received(self.post("/wrapped", {"a": "x" * 200_000}))["data"]["a"]) == 200_000
        before = len(self.line.upstreams.seen)
        self.refused(self.post("/wrapped", {"a": "x" * 300_000}), 413)
        assert len(self.line.upstreams.seen) == before

    def test_the_body_of_who_is_refused_is_not_read(self) -> None:
        self.asks("transform_body")
        self.refused(self.post("/orders/private", b"{"), 401)

    @pytest.mark.parametrize("how", ["plain", "chunked"])
    def test_an_answer_is_shaped(self, how: str) -> None:
        self.asks("transform_body")
        said = {"film": {"id": 12345678901234567890, "title": 'A "B"'}, "more": ["x" * 700] * 9}
        answer = self.post("/answers", said, x_test_echo=how, accept_encoding="gzip", range="bytes=0-5")
        assert answer.json() == {"id": 12345678901234567890, "title": '<A "B">', "all": said}
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["content-type"] == "application/json"
        seen = self.line.upstreams.seen[-1]
        assert seen.header("accept-encoding") is None and seen.header("range") is None
        head = self.client.head("/answers", headers={"x-test-echo": "plain"})
        assert head.status_code == 200 and "content-length" not in head.headers

    def test_only_good_json_answers_are_shaped(self) -> None:
        self.asks("transform_body")
        for status in ("404", "500"):
            answer = self.post("/answers", {"error": "x"}, x_test_echo="plain", x_test_status=status)
            assert (str(answer.status_code), answer.json()) == (status, {"error": "x"})
        text = self.client.post(
            "/answers", content=b"hello", headers={"content-type": "text/plain", "x-test-echo": "plain"}
        )
        assert text.text == "hello"

    @pytest.mark.parametrize("body", [b"{", b"", b'{"a":\xff}'], ids=["cut off", "nothing", "no text"])
    def test_a_service_that_gives_no_json_is_told(self, body: bytes) -> None:
        self.asks("transform_body")
        answer = self.post("/answers", body, x_test_echo="chunked")
        if not body:
            assert answer.status_code == 200 and not answer.content
            return
        assert answer.status_code == 502
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == 502 and "JSON" in answer.json()["title"]
        assert len(answer.json()["trace_id"]) == 32
        assert answer.headers["cache-control"] == "no-store"

    def test_an_answer_that_is_too_large_is_told(self) -> None:
        self.asks("transform_body")
        answer = self.client.post(
            "/answers",
            content=b'{"a":"' + b"x" * 200_000 + b'"}',
            headers={**JSON, "x-test-echo": "plain", "x-test-times": "12"},
        )
        assert answer.status_code == 502
        assert answer.json()["title"] == "The service's answer is too large"

    def test_the_hop_tells_a_refused_body(self) -> None:
        self.asks("transform_body")
        trace = "e" * 32
        self.post("/wrapped", b"{", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        (hop,) = self.line.hops(trace)
        assert (hop.status, hop.verdict) == (400, "refused: body")
