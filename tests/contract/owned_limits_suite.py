"""The tier whose setting a limit is refuses what is beyond it, in words that name limit and setting (plan/budgets.py).

A subclass names tier and system. Gateways, balancers and CDNs own small limits here; a cache, which has none of its
own, lets through what is a little beyond its gateway's, so that the gateway is the one to speak. What a system can't
hold has to stand in the plan's losses.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from edge import Line
from wire import Reply, replies_of

from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Route, Service, Stack
from tierline.plan.parity import unheld
from waiting import PATIENCE

BODY, NARROW, LITTLE = 64 << 10, 16 << 10, 8 << 10
FIRST, IDLE, WHOLE, FOREVER = 1.0, 2.0, 5.0, 12.0
OWNERS = {"gateway": "Gateway", "lb": "LoadBalancer", "cdn": "CDN", "cache": "Gateway"}
Found = tuple[float, list[Reply], bytes]
"""Seconds that it took, the answers, and all bytes."""


class LimitedLine:
    """A tier of a line with small limits, and what is asked of it: the `do_` methods, all at the same time."""

    tier: ClassVar[str]
    system: ClassVar[str]
    line: ClassVar[Line]
    found: ClassVar[dict[str, Future[Found]]]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _lines(cls) -> Iterator[None]:
        small: dict[str, Any] = {"max_body": BODY, "timeout": FIRST, "idle_timeout": IDLE}
        line: dict[str, Any] = {}
        if cls.owns:
            small |= {"max_url": 1024, "max_headers": 8 << 10, "max_response_headers": 8 << 10}
            routes = [
                Route("/narrow", to="web", max_body=NARROW, timeout="60s"),
                Route("/whole", to="web", max_duration=WHOLE, timeout="60s", idle_timeout="60s"),
            ]
            line["gateway"] = Gateway(**small, routes=routes)
            if cls.tier == "cache":
                line["cache"] = HTTPCache()
        else:
            line = {"gateway": Gateway(), cls.tier: {"lb": LoadBalancer, "cdn": CDN}[cls.tier](**small)}
        services = [
            Service("web", "a:app", expose=["/"]),
            Service("little", "a:app", expose=["/little"], max_body=LITTLE),
        ]
        stack = Stack("limits", dns=DNS("limits.test"), services=services, zones=["a"], **line)
        engines = {"gateway": "envoy" if cls.system == "haproxy" else "haproxy", cls.tier: cls.system}
        cls.line = Line(stack, cls.tier, engines)
        cls.lost = {each.feature: each.why for each in unheld(cls.line.plan) if each.tier == cls.tier}
        try:
            cls.line.start()
            names = [name for name in dir(cls) if name.startswith("do_")]
            # All at once, as most of them wait.
            with ThreadPoolExecutor(len(names)) as pool:
                cls.found = {
                    name.removeprefix("do_"): pool.submit(cls._timed, getattr(cls, name)) for name in names
                }
            cls.line.upstreams.release("late", "stalled")
            yield
        finally:
            cls.line.close()

    owns: ClassVar[bool] = True
    """Whether the limits are a gateway's."""
    lost: ClassVar[dict[str, str]]

    @classmethod
    def _timed(cls, do: Callable[[], tuple[list[Reply], bytes]]) -> Found:
        began = time.monotonic()
        replies, data = do()
        return time.monotonic() - began, replies, data

    @classmethod
    def ask(
        cls, path: str, *fields: str, method: str = "GET", body: bytes = b""
    ) -> tuple[list[Reply], bytes]:
        """One request on a connection of its own, until the answer is whole or the connection ends."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields]
        with socket.create_connection(cls.line.entry("http"), timeout=PATIENCE) as sock:
            with contextlib.suppress(OSError):
                sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            data = cls.rest(sock)
        return replies_of(data, method), data

    @classmethod
    def send(cls, path: str, size: int, chunked: bool = False) -> tuple[list[Reply], bytes]:
        if not chunked:
            return cls.ask(path, f"Content-Length: {size}", method="POST", body=b"x" * size)
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
        return cls.ask(path, "Transfer-Encoding: chunked", method="POST", body=body)

    # What is asked, all at the same time.

    @classmethod
    def do_within(cls) -> tuple[list[Reply], bytes]:
        return cls.send("/within", BODY)

    @classmethod
    def do_large(cls) -> tuple[list[Reply], bytes]:
        return cls.send("/large", BODY + 1)

    @classmethod
    def do_unsized(cls) -> tuple[list[Reply], bytes]:
        return cls.send("/unsized", BODY + 1, chunked=True)

    @classmethod
    def do_narrow(cls) -> tuple[list[Reply], bytes]:
        return cls.send("/narrow/x", NARROW + 1)

    @classmethod
    def do_narrow_unsized(cls) -> tuple[list[Reply], bytes]:
        return cls.send("/narrow/chunks", NARROW + 1, chunked=True)

    @classmethod
    def do_little(cls) -> tuple[list[Reply], bytes]:
        return cls.send("/little/x", LITTLE + 1)

    @classmethod
    def do_little_unsized(cls) -> tuple[list[Reply], bytes]:
        return cls.send("/little/unsized", LITTLE + 1, chunked=True)

    @classmethod
    def do_url(cls) -> tuple[list[Reply], bytes]:
        return cls.ask(f"/url?{'q' * (100 << 10)}")

    @classmethod
    def do_fields(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/fields", *(f"X-{n}: {'x' * 45000}" for n in range(5)))

    @classmethod
    def do_field_count(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/field-count", *(f"X-{n}: x" for n in range(700)))

    @classmethod
    def do_some_more_fields(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/some-more-fields", *(f"X-{n}: {'x' * 4800}" for n in range(2)))

    @classmethod
    def do_crowded(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/crowded", *(f"X-{n}: x" for n in range(120)))

    @classmethod
    def do_answer_fields(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/answer-fields", "X-Test-Wide: 80000")

    @classmethod
    def do_late(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/late", "X-Test-Hold: late")

    @classmethod
    def do_silent(cls) -> tuple[list[Reply], bytes]:
        return cls.ask(
            "/silent",
            "X-Test-Stall: stalled",
            "X-Test-Header: cache-control: no-store",
            "Accept: text/event-stream",
        )

    @classmethod
    def do_whole(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/whole/x", "X-Test-Drip: 0.5", "X-Test-Header: cache-control: no-store")

    @classmethod
    def do_silent_websocket(cls) -> tuple[list[Reply], bytes]:
        return cls._websocket(0)

    @classmethod
    def do_busy_websocket(cls) -> tuple[list[Reply], bytes]:
        return cls._websocket(5)

    @classmethod
    def _websocket(cls, said: int) -> tuple[list[Reply], bytes]:
        """A WebSocket on which both sides say something so often, with pauses shorter than the silence allowed, then
        nothing, until it is closed."""
        with socket.create_connection(cls.line.entry("http"), timeout=PATIENCE) as sock:
            sock.sendall(
                b"GET /websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            with contextlib.suppress(OSError):
                for _ in range(said):
                    time.sleep(FIRST * 0.6)  # slow: a client with pauses
                    sock.sendall(b"ping")
            data = cls.rest(sock)
        return [], data

    @staticmethod
    def rest(sock: socket.socket) -> bytes:
        """What comes until the connection ends, or is older than any limit here."""
        data, until = b"", time.monotonic() + FOREVER
        with contextlib.suppress(OSError):
            while (left := until - time.monotonic()) > 0:
                sock.settimeout(left)
                if not (chunk := sock.recv(65536)):
                    break
                data += chunk
        return data


class PassesLimits(LimitedLine):
    """A cache has no limits of its own: what is a little beyond the gateway's goes on to it, and comes back."""

    tier = "cache"

    @classmethod
    def do_long_address(cls) -> tuple[list[Reply], bytes]:
        return cls.ask(f"/long-address?{'q' * 1500}")

    @classmethod
    def do_more_fields(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/more-fields", f"X-A: {'x' * 4500}", f"X-B: {'x' * 4500}")

    @classmethod
    def do_many_fields(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/many-fields", *(f"X-{n}: x" for n in range(105)))

    @classmethod
    def do_wide_answer(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/wide-answer", "X-Test-Wide: 9000")

    @classmethod
    def do_slow(cls) -> tuple[list[Reply], bytes]:
        return cls.ask("/slow", f"X-Test-Sleep: {FIRST + 1}")

    @pytest.mark.parametrize(
        "name", ["large", "unsized", "long_address", "more_fields", "many_fields", "wide_answer", "slow"]
    )
    def test_what_is_beyond_the_gateways_limit_gets_there(self, name: str) -> None:
        _, replies, data = self.found[name].result()
        assert [each.status for each in replies] == [200], data[:300]
        assert [
            each for each in self.line.upstreams.seen if each.path.startswith(f"/{name.replace('_', '-')}")
        ]


class OwnedLimits(LimitedLine):
    """Inherit it, name tier and system."""

    # What became of it.

    def refused(self, name: str, statuses: tuple[int, ...], words: str) -> None:
        _, replies, data = self.found[name].result()
        assert len(replies) == 1, data[:300]
        (reply,) = replies
        assert reply.status in statuses, (reply.status, reply.body[:300])
        assert reply.header("content-type") == "application/problem+json", (reply.headers, reply.body[:300])
        assert words in json.loads(reply.body)["detail"], reply.body
        assert not [each for each in self.line.upstreams.seen if each.path.startswith(self.at(name))]

    @staticmethod
    def at(name: str) -> str:
        return {"narrow": "/narrow/x", "little": "/little/x"}.get(name, f"/{name.replace('_', '-')}")

    @property
    def owner(self) -> str:
        return OWNERS[self.tier]

    def test_a_body_of_the_largest_size_arrives(self) -> None:
        _, (reply,), _ = self.found["within"].result()
        assert (reply.status, json.loads(reply.body)["body"]) == (200, BODY)

    def test_a_larger_body(self) -> None:
        if "max_body" not in self.lost or self.system != "traefik":
            self.refused("large", (413,), f"body larger than {self.owner}.max_body = 64 KiB")

    def test_a_larger_body_that_does_not_say_how_long_it_is(self) -> None:
        if "max_body" in self.lost and self.tier != "gateway":
            assert "say how long" in self.lost["max_body"] or "bounds no body" in self.lost["max_body"]
        elif self.tier == "gateway" and self.system == "haproxy":
            self.refused("unsized", (411,), "length")
        else:
            self.refused("unsized", (413,), f"{self.owner}.max_body = 64 KiB")

    def test_a_route_and_a_service_have_bodies_of_their_own(self) -> None:
        if not self.owns:
            return
        if self.system == "nginx":
            assert "max_body" in self.lost
            return
        self.refused("narrow", (413,), "Route.max_body = 16 KiB")
        self.refused("little", (413,), "Service.max_body = 8 KiB")

    def test_they_hold_for_bodies_that_do_not_say_how_long_they_are(self) -> None:
        if not self.owns:
            return
        for name, path in (("narrow_unsized", "/narrow/chunks"), ("little_unsized", "/little/unsized")):
            _, replies, data = self.found[name].result()
            if "max_body" in self.lost:
                continue
            assert [each.status for each in replies] in ([413], [411]), data[:300]
            assert not [each for each in self.line.upstreams.seen if each.path == path]

    def beyond_fields(self, name: str, words: str) -> None:
        """HAProxy says the same of all that it can't parse, and Envoy counts the request line among the fields."""
        if self.system not in ("haproxy", "varnish", "traefik") and self.owns:
            return self.refused(name, (414, 431), words)
        _, replies, data = self.found[name].result()
        assert [each.status for each in replies] in ([400], [414], [431]), data[:300]
        return None

    def test_an_address_that_is_too_long(self) -> None:
        self.beyond_fields("url", "Gateway.max_headers" if self.system == "envoy" else "Gateway.max_url")

    def test_fields_that_are_too_large(self) -> None:
        self.beyond_fields("fields", "Gateway.max_headers")

    def test_too_many_fields(self) -> None:
        if self.system != "traefik":
            self.beyond_fields("field_count", "100")

    def test_what_is_a_little_beyond_is_refused_in_words(self) -> None:
        """nginx has no limit of all fields together, only of each."""
        if self.owns:
            self.refused("crowded", (431,), "or more than 100")
        if self.owns and self.system != "nginx":
            self.refused("some_more_fields", (431,), "Gateway.max_headers = 8 KiB")

    def test_an_answer_whose_fields_are_too_large(self) -> None:
        if self.owns:
            _, (reply,), _ = self.found["answer_fields"].result()
            assert (reply.status, reply.header("content-type")) == (502, "application/problem+json"), reply

    def test_an_answer_that_does_not_begin(self) -> None:
        self.refused_late("late", f"no answer within {self.owner}.timeout = 1 s")

    def refused_late(self, name: str, words: str) -> None:
        took, replies, data = self.found[name].result()
        assert len(replies) == 1 and replies[0].status == 504, data[:300]
        if self.system != "traefik":  # it has no words of its own
            assert words in json.loads(replies[0].body)["detail"], replies[0].body
        assert took >= FIRST * 0.9

    def test_an_answer_that_falls_silent(self) -> None:
        """It ends, and not as if it were whole."""
        took, _, data = self.found["silent"].result()
        assert b"begun" in data and b"\r\n0\r\n\r\n" not in data
        assert IDLE * 0.9 <= took < FOREVER or "idle_timeout" in self.lost, took

    def test_an_answer_without_end_ends_in_time(self) -> None:
        if not self.owns:
            return
        took, _, data = self.found["whole"].result()
        assert b"begun" in data and took >= WHOLE * 0.8
        assert (took < FOREVER) == ("max_duration" not in self.lost), (took, self.lost)

    def test_a_websocket_ends_when_nobody_says_anything(self) -> None:
        took, _, data = self.found["silent_websocket"].result()
        assert data.startswith(b"HTTP/1.1 101"), data
        least = FIRST if "idle_timeout" in self.lost else IDLE
        assert least * 0.9 <= took and (took < FOREVER or "idle_timeout" in self.lost), took

    def test_a_websocket_lasts_as_long_as_something_moves(self) -> None:
        took, _, data = self.found["busy_websocket"].result()
        assert data.endswith(b"ping" * 5), data
        assert took >= FIRST * 3
