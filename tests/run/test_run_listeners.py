"""Every TCP port of a line: on loopback, and but for those that take the line's requests it refuses who has no credentials."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable

import psutil
import pytest

from workbench import HELLO, Bench

STACK = """
from tierline import (
    CDN, DNS, JWT, Bucket, Cache, Gateway, HTTPCache, LoadBalancer, Mail, Queue, RateLimit, Relational, Service, Stack,
)
uses = [Relational("films"), Bucket("posters"), Cache("hot"), Queue("jobs"), Mail("inbox")]
stack = Stack(
    "ports", dns=DNS("ports.test"), cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(), zones=["a"],
    gateway=Gateway(limits=[RateLimit(1000, per="1s", by="client")]),
    services=[Service("hello", "hello:app", uses=uses, expose=["/"])],
)
"""
TRAFFIC = {"cdn", "lb", "cache", "gateway", "experience", "hello", "dns"}
"""Whose `http`, `https` and `dns` take requests of clients and of the tiers in front: no credentials belong there."""
STARTUP = b"user\0postgres\0database\0postgres\0\0"
STRANGERS: dict[str, tuple[bytes, re.Pattern[bytes]]] = {
    **{
        f"a web page, {path}": (
            f"{method} {path} HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n".encode(),
            re.compile(rb"^HTTP/1\.[01] 2"),
        )
        for method, path in (
            ("GET", "/"), ("GET", "/counts"), ("GET", "/metrics"), ("GET", "/api/mails"), ("GET", "/dir/status"),
            ("GET", "/buckets/"), ("POST", "/take"), ("POST", "/v1/traces"), ("POST", "/buckets/x"),
        )
    },
    "redis": (b"PING\r\nDBSIZE\r\n", re.compile(rb"\+PONG|^:\d")),
    "nats": (b'CONNECT {"verbose":true}\r\nPING\r\n', re.compile(rb"^INFO .*(\+OK|PONG)", re.DOTALL)),
    "postgresql": (struct.pack("!II", len(STARTUP) + 8, 196608) + STARTUP, re.compile(rb"^R\0\0\0\x08\0\0\0\0", re.DOTALL)),
    "smtp": (b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nQUIT\r\n", re.compile(rb"\n250 [^\r]*\r\n221")),
    "pop3": (b"STAT\r\nLIST\r\nQUIT\r\n", re.compile(rb"\+OK \d+ \d")),
    "varnish": (b"status\nban.list\n", re.compile(rb"Child in state|Present bans")),
}  # fmt: skip


def answered(address: tuple[str, int], said: bytes) -> bytes:
    """All that comes back within a moment."""
    found = b""
    with socket.create_connection(address, 5) as connection:
        connection.settimeout(0.5)
        try:
            connection.sendall(said)
            while chunk := connection.recv(1 << 16):
                found += chunk
        except (TimeoutError, ConnectionError):
            pass
    return found


@pytest.mark.parametrize("lineup", ["embedded", "popular", "alternate"])
def test_every_port_is_the_lines_traffic_or_wants_credentials(
    bench: Callable[..., Bench], lineup: str
) -> None:
    line = bench(STACK, hello=HELLO)
    line.up("--lineup", lineup)
    status = line.status()
    owner = {address: key for key, address in status["addresses"].items()}
    top = psutil.Process(status["pid"])
    pids = {each.pid for each in [top, *top.children(recursive=True)]}
    listening = {
        each.laddr
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.pid in pids
    }
    assert len(listening) > 15
    open_doors = []
    for host, port in sorted(listening):
        assert host.startswith("127."), f"{host}:{port} is open to other machines"
        role, _, endpoint = owner.get(f"{host}:{port}", "?/?").partition("/")
        if role.partition(".")[0] in TRAFFIC and endpoint in ("http", "https", "dns"):
            continue
        for who, (said, success) in STRANGERS.items():
            if success.search(answer := answered((host, port), said)):
                open_doors.append(f"{role}/{endpoint} to {who}: {answer[:60]!r}")
    assert open_doors == []
