"""What a tier refuses by itself, or says of a tier that fails behind it, is a problem document (RFC 9457), always.

A subclass names tier and system. Each case provokes one error of the engine's own; what a system can't say so stands in
its `lacks` as `refusal-KIND`, and really fails.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from edge import Line
from wire import Reply, replies_of

from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Service, Stack
from tierline.tiers.base import system

_HOST = "Host: localhost\r\n"
REQUESTS = {
    "no-host": "GET /x HTTP/1.1\r\n\r\n",
    "two-hosts": f"GET /x HTTP/1.1\r\n{_HOST}Host: evil.test\r\n\r\n",
    "host": "GET /x HTTP/1.1\r\nHost: a\"b\r\n\r\n",
    "host-user": "GET /x HTTP/1.1\r\nHost: user@localhost\r\n\r\n",
    "host-space": "GET /x HTTP/1.1\r\nHost: local host\r\n\r\n",
    "host-list": "GET /x HTTP/1.1\r\nHost: localhost,evil.test\r\n\r\n",
    "request-line": "nothing\r\n\r\n",
    "version": f"GET /x HTTP/4.2\r\n{_HOST}\r\n",
    "field-name": f"GET /x HTTP/1.1\r\n{_HOST}X A: b\r\n\r\n",
    "bare-cr": f"GET /x HTTP/1.1\r\n{_HOST}X-A: b\rX-B: c\r\n\r\n",
    "nul": f"GET /x HTTP/1.1\r\n{_HOST}X-A: b\0c\r\n\r\n",
    "method-name": f"G(T /x HTTP/1.1\r\n{_HOST}\r\n",
    "length": f"POST /x HTTP/1.1\r\n{_HOST}Content-Length: one\r\n\r\n",
    "two-lengths": f"POST /x HTTP/1.1\r\n{_HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "coding": f"POST /x HTTP/1.1\r\n{_HOST}Transfer-Encoding: gzip\r\n\r\n",
    "chunk": f"POST /x HTTP/1.1\r\n{_HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "expect": f"GET /x HTTP/1.1\r\n{_HOST}Expect: the-impossible\r\n\r\n",
    "path": f"GET /x/..;/y HTTP/1.1\r\n{_HOST}\r\n",
    "path-bytes": f"GET /x\x01y HTTP/1.1\r\n{_HOST}\r\n",
    "target": f"GET x HTTP/1.1\r\n{_HOST}\r\n",
    "trace": f"TRACE /x HTTP/1.1\r\n{_HOST}\r\n",
    "connect": "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n",
    "url": f"GET /x?{'q' * 14000} HTTP/1.1\r\n{_HOST}\r\n",
    "huge-url": f"GET /x?{'q' * 100_000} HTTP/1.1\r\n{_HOST}\r\n",
    "fields": f"GET /x HTTP/1.1\r\n{_HOST}{''.join(f'X-{n}: {chr(120) * 990}{chr(13)}{chr(10)}' for n in range(35))}\r\n",
    "huge-fields": f"GET /x HTTP/1.1\r\n{_HOST}{''.join(f'X-{n}: {chr(120) * 45000}{chr(13)}{chr(10)}' for n in range(5))}\r\n",
    "field-count": f"GET /x HTTP/1.1\r\n{_HOST}{''.join(f'X-{n}: x{chr(13)}{chr(10)}' for n in range(180))}\r\n",
    "huge-field-count": f"GET /x HTTP/1.1\r\n{_HOST}{''.join(f'X-{n}: x{chr(13)}{chr(10)}' for n in range(700))}\r\n",
    "body": f"POST /x HTTP/1.1\r\n{_HOST}Content-Length: 99000000\r\n\r\n",
    "slow-fields": f"GET /x HTTP/1.1\r\n{_HOST}X-A: ",
    "purge": f"PURGE /x HTTP/1.1\r\n{_HOST}\r\n",
    "broken-off": f"GET /x HTTP/1.1\r\n{_HOST}X-Test-Drop: 1\r\n\r\n",
    "broken-off-post": f"POST /x HTTP/1.1\r\n{_HOST}X-Test-Drop: 1\r\nContent-Length: 2\r\n\r\nab",
    "late": f"GET /x HTTP/1.1\r\n{_HOST}X-Test-Hold: late\r\n\r\n",
    "bad-answer": f"GET /x HTTP/1.1\r\n{_HOST}X-Test-Header: bad field: x\r\n\r\n",
    "answer-fields": f"GET /x HTTP/1.1\r\n{_HOST}X-Test-Wide: 50000\r\n\r\n",
    "huge-answer-fields": f"GET /x HTTP/1.1\r\n{_HOST}X-Test-Wide: 200000\r\n\r\n",
}  # fmt: skip
"""What is asked. A system needn't refuse all of it: other suites hold what must be."""
KINDS = {
    "host": ("no-host", "two-hosts", "host", "host-user", "host-space", "host-list"),
    "path": ("path",),
    "malformed": (
        "request-line", "version", "field-name", "bare-cr", "nul", "method-name", "length", "two-lengths", "coding",
        "chunk", "path-bytes", "target", "expect",
    ),
    "method": ("trace", "connect", "purge"),
    "large": ("url", "fields", "field-count", "body"),
    "huge": ("huge-url", "huge-fields", "huge-field-count"),
    "slow": ("slow-fields",),
    "plain": ("plain-to-tls",),
    "behind": (
        "broken-off", "broken-off-post", "late", "bad-answer", "answer-fields", "huge-answer-fields", "gone",
    ),
}  # fmt: skip
"""What a system lacks, it lacks of a kind."""
SILENT = 12.0
"""Seconds after which nothing more is expected of a tier that waits for its client."""
BEHIND = {"cdn": CDN, "lb": LoadBalancer, "cache": HTTPCache, "gateway": Gateway}


class Refusals:
    """Inherit it, name tier and system."""

    tier: ClassVar[str]
    system: ClassVar[str]
    line: ClassVar[Line]
    found: ClassVar[dict[str, Future[tuple[list[Reply], bytes]]]]
    gone: ClassVar[tuple[list[Reply], bytes]]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _line(cls) -> Iterator[None]:
        said: dict[str, Any] = {"gateway": Gateway(timeout="2s", max_body="64KiB")}
        said[cls.tier] = said.get(cls.tier) or BEHIND[cls.tier]()
        stack = Stack(
            "refusals", dns=DNS("refusals.test"), services=[Service("web", "a:app", expose=["/"])], zones=["a"], **said
        )  # fmt: skip
        # Another engine than the tier has: they would share a process.
        uses = {"gateway": "envoy" if cls.system == "haproxy" else "haproxy", cls.tier: cls.system}
        cls.line = Line(stack, cls.tier, uses)
        try:
            cls.line.start()
            with ThreadPoolExecutor(len(REQUESTS)) as pool:
                cls.found = {name: pool.submit(cls.ask, sent) for name, sent in REQUESTS.items()}
                cls.found["plain-to-tls"] = pool.submit(cls.ask, REQUESTS["trace"], "https")
            cls.line.upstreams.release("late")
            for role in {seen.role for seen in cls.line.upstreams.seen}:
                cls.line.upstreams.kill(role)
            cls.gone = cls.ask(f"GET /gone HTTP/1.1\r\n{_HOST}\r\n")
            yield
        finally:
            cls.line.close()

    @classmethod
    def ask(cls, sent: str, endpoint: str = "http") -> tuple[list[Reply], bytes]:
        """What comes until the connection ends, or the first answer is whole."""
        data, method = b"", sent.split(" ")[0]
        try:
            at = cls.line.entry(endpoint)
        except KeyError:
            return [], b""
        with socket.create_connection(at, timeout=SILENT) as sock, contextlib.suppress(OSError):
            with contextlib.suppress(OSError):
                sock.sendall(sent.encode("latin-1"))
            while chunk := sock.recv(65536):
                data += chunk
                sock.settimeout(1)
        return replies_of(data, method), data

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_is_a_problem_document(self, kind: str) -> None:
        wrong = {}
        for name in KINDS[kind]:
            replies, data = self.gone if name == "gone" else self.found[name].result()
            if not all(self.is_problem(each) for each in replies if each.status >= 400):
                wrong[name] = data[:400]
        lacks = system(self.tier, self.system).lacks
        if f"refusal-{kind}" in lacks:
            assert wrong, f"{kind} holds now: take it out of `lacks` of {self.tier}.{self.system}"
            pytest.xfail(lacks[f"refusal-{kind}"])
        assert not wrong, wrong

    @staticmethod
    def is_problem(reply: Reply) -> bool:
        if reply.all("content-type") != ["application/problem+json"]:
            return False
        told = json.loads(reply.body)
        return isinstance(told.get("title"), str) and told.get("status", reply.status) == reply.status

    def test_a_gateway_names_the_limit_of_an_answers_fields(self) -> None:
        if self.tier != "gateway":
            return
        (reply,), _ = self.found["huge-answer-fields"].result()
        assert reply.status == 502
        assert "Gateway.max_response_headers = 32 KiB" in json.loads(reply.body)["detail"], reply
