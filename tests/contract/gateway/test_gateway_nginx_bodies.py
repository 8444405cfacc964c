"""Bodies that gateway.nginx shapes go every way that others go: tried again, mirrored, with a canary; and nothing that a
client or a service sends takes its worker down or holds it for long."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from feature_suite import Contract

from tierline import Canary, Gateway, Mirror, RateLimit, Route, Service, Stack
from waiting import eventually

JSON = {"content-type": "application/json"}


class TestNginxShapedWays(Contract):
    system = "nginx"

    @classmethod
    def stack(cls) -> Stack:
        answer = {"was": "{body}"}
        return Stack(
            "edge",
            gateway=Gateway(
                routes=[
                    Route("/in", to="echo", request_body={"data": "{body}"}),
                    Route("/out", to="echo", response_body=answer),
                    Route("/both", to="echo", request_body={"data": "{body}"}, response_body=answer),
                    Route("/copied", to="echo", request_body={"data": "{body}"}, mirror=Mirror("other")),
                    Route("/copied-out", to="echo", response_body=answer, mirror=Mirror("other")),
                    Route("/canary", to="echo", response_body=answer, canary=Canary("other", header="x-new")),
                    Route("/moved", to="echo", response_body=answer, rewrite="/there"),
                    Route("/slow", to="echo", response_body=answer, timeout="0.3s"),
                    Route("/dressed", to="echo", response_body=answer, response={"x-mine": "yes"}),
                    Route("/big", to="echo", request_body={"data": "{a}"}),
                ],
                limits=[RateLimit(1000, per="1s")],
                cors=["https://app.test"],
                concurrency=50,
            ),
            services=[
                Service("echo", "app:app", expose=["/echo"]),
                Service("other", "app:app", expose=["/other"]),
            ],
            zones=["a", "b"],
        )

    @pytest.fixture(autouse=True)
    def alive(self) -> Iterator[None]:
        # An instance that failed is left alone for a second.
        assert eventually(lambda: self.get("/echo").headers.get("x-role") == "echo.a"), (
            "the line doesn't settle"
        )
        yield
        assert "exited on signal" not in self.line.log("gateway.a")
        assert "js exception" not in self.line.log("gateway.a")
        assert "unhandled rejection" not in self.line.log("gateway.a")

    def was(self, answer: httpx.Response) -> Any:
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-length"] == str(len(answer.content))
        return answer.json()["was"]

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    @pytest.mark.parametrize("path", ["/in", "/both"])
    def test_a_shaped_body_goes_to_the_next_zone_when_the_own_is_gone(self, method: str, path: str) -> None:
        self.line.upstreams.kill("echo.a")
        try:
            answer = self.client.request(method, path, json=[1, 2])
            assert answer.status_code == 200, answer.text
            (seen, *_) = reversed(self.line.upstreams.of("echo.b"))
            assert (seen.method, seen.body) == (method, b'{"data":[1,2]}')
        finally:
            self.line.upstreams.heal("echo.a")

    @pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
    def test_a_canary_has_the_next_zone_too(self, method: str) -> None:
        self.line.upstreams.kill("other.a")
        try:
            answer = self.client.request(method, "/canary", headers={"x-new": "1"})
            assert self.was(answer)["role"] == "other.b"
        finally:
            self.line.upstreams.heal("other.a")

    @pytest.mark.parametrize("path", ["/in", "/both", "/out"])
    def test_what_an_instance_has_seen_is_not_tried_again(self, path: str) -> None:
        before = len(self.line.upstreams.seen)
        answer = self.client.put(path, json={"a": 1}, headers={"x-test-drop": "1"})
        assert answer.status_code == 502
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(self.line.upstreams.seen) == before + 1

    def test_a_copy_has_the_shaped_body(self) -> None:
        assert self.client.post("/copied", json={"a": 1}).status_code == 200
        assert self.client.get("/copied").status_code == 200
        assert self.was(self.client.post("/copied-out", json={"b": 1}))["role"] == "echo.a"
        assert eventually(lambda: len(self.line.upstreams.of("other.a")) >= 3)
        copies = {(seen.method, seen.path, seen.body) for seen in self.line.upstreams.of("other.a")}
        assert copies >= {
            ("POST", "/copied", b'{"data":{"a":1}}'),
            ("GET", "/copied", b""),
            ("POST", "/copied-out", b'{"b":1}'),
        }

    def test_routes_do_what_else_they_do(self) -> None:
        assert self.was(self.get("/canary"))["role"] == "echo.a"
        assert self.was(self.get("/canary", x_new="1"))["role"] == "other.a"
        assert self.was(self.get("/moved/on?x=%2F"))["path"] == "/there/on?x=%2F"
        assert self.was(self.client.request("DELETE", "/out"))["method"] == "DELETE"
        assert self.get("/dressed").headers["x-mine"] == "yes"
        answer = self.get("/out", origin="https://app.test")
        assert answer.headers["access-control-allow-origin"] == "https://app.test"
        assert answer.headers["vary"] == "Origin" and answer.headers["ratelimit-limit"] == "1000"

    def test_what_fails_is_told_as_ever(self) -> None:
        slow = self.get("/slow", x_test_sleep="1")
        assert slow.status_code == 504 and slow.json()["title"] == "The service took too long"
        packed = self.get("/out", x_test_header="content-encoding: gzip")
        assert packed.status_code == 502 and packed.json()["detail"] == "it is encoded"
        assert "content-encoding" not in packed.headers

    def test_headers_of_the_service_come_along(self) -> None:
        answer = self.get("/out", x_test_header="set-cookie: a=1")
        assert self.was(answer) and answer.headers.get_list("set-cookie") == ["a=1"]
        answer = self.get("/out", x_test_header="content-digest: sha-256=:x:")
        assert "content-digest" not in answer.headers and self.was(answer)

    def test_the_hop_says_which_instance_answered(self) -> None:
        trace = "d" * 32
        self.was(self.get("/out", traceparent=f"00-{trace}-00f067aa0ba902b7-01"))
        (hop,) = self.line.hops(trace)
        host, port = self.line.addresses[("echo.a", "http")]
        assert hop.attributes["server.address"] == f"{host}:{port}"

    def test_a_client_that_leaves_meanwhile_breaks_nothing(self) -> None:
        for path in ("/out", "/both"):
            ask = (
                f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nx-test-sleep: 0.3\r\n"
            )
            with socket.create_connection(self.line.address()) as sock:
                sock.sendall(f"{ask}content-length: 2\r\n\r\n{{}}".encode())
                assert eventually(lambda: sum(self.line.upstreams.busy.values()))
            with socket.create_connection(self.line.address()) as sock:
                sock.sendall(f"{ask}content-length: 20\r\n\r\n{{".encode())
        assert eventually(lambda: not sum(self.line.upstreams.busy.values()))
        assert self.was(self.get("/out"))

    @pytest.mark.parametrize(
        "text",
        [
            '{"a":"ü€😀","b":"é"}',
            '{"a":"\\\\\\"x\\u20ac","b":[{"":0}]}',
            "[" * 98 + "]" * 98,  # the templates add one each
            '{"constructor":1,"__proto__":{"a":2},"toString":"x"}',
            ' \t\r\n{ "a" : [ 1 , -0.5e-7 , true ] } \n',
            json.dumps({"a": "\\" * 999, "b": '"' * 999}),
            '"' + "\\\\" * 50 + '"',
        ],
        ids=lambda text: ascii(text)[:24],
    )
    def test_good_json_stays_as_it_is(self, text: str) -> None:
        answer = self.client.post("/both", content=text.encode(), headers={**JSON, "x-test-echo": "plain"})
        assert answer.status_code == 200, answer.text
        assert answer.text == '{"was":{"data":' + text.strip() + "}}"

    @pytest.mark.parametrize(
        "text", ["[" * 101 + "]" * 101, '{"a":"\t"}', '["\r"]', '{"a":1}\x00', '"\\u12g4"', '{"a" :1 "b"}', "[1 2]"],
        ids=lambda text: ascii(text)[:24],
    )  # fmt: skip
    def test_bad_json_is_told(self, text: str) -> None:
        answer = self.client.post("/in", content=text.encode(), headers=JSON)
        assert (answer.status_code, "JSON" in answer.json()["detail"]) == (400, True)

    def test_a_large_body_is_shaped_up_to_its_limit(self) -> None:
        dense = b'{"a":0,"b":[' + b'{"k":"v","n":12},' * 57_000 + b"1]}"
        assert 0.9 * (1 << 20) < len(dense) < 1 << 20
        answer = self.client.post("/big", content=dense, headers=JSON)
        assert answer.status_code == 200, answer.text
        assert self.line.upstreams.seen[-1].body == b'{"data":0}'
        self.refused(self.client.post("/big", content=dense + b" " * (1 << 17), headers=JSON), 413)

        def pieces() -> Iterator[bytes]:
            yield dense
            yield b" " * (1 << 17)

        self.refused(self.client.post("/big", content=pieces(), headers=JSON), 413)

    @pytest.mark.parametrize("over", [0, 1])
    @pytest.mark.parametrize("how", ["length", "chunks"])
    def test_a_bodys_bound_is_a_mebibyte_to_the_byte(self, how: str, over: int) -> None:
        body = b'{"a":"' + b"x" * ((1 << 20) - 8 + over) + b'"}'
        sent = body if how == "length" else iter([body[:99], body[99:70_000], body[70_000:]])
        before = len(self.line.upstreams.seen)
        answer = self.client.post("/in", content=sent, headers=JSON)
        assert answer.status_code == (413 if over else 200)
        seen = self.line.upstreams.seen[before:]
        assert [each.body for each in seen] == ([] if over else [b'{"data":' + body + b"}"])

    @pytest.mark.parametrize("over", [0, 1])
    @pytest.mark.parametrize("how", ["plain", "chunked"])
    def test_an_answers_bound_is_a_mebibyte_to_the_byte(self, how: str, over: int) -> None:
        body = b'"' + b"x" * ((1 << 20) - 2) + b'"' + b" " * over
        answer = self.client.request("POST", "/out", content=body, headers={**JSON, "x-test-echo": how})
        assert answer.status_code == (502 if over else 200), answer.text[:200]
        if not over:
            assert answer.content == b'{"was":' + body + b"}"
