"""A place that hangs: the name service leaves it out, whatever its own checks have seen, and takes it back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import dns.exception
import dns.message
import dns.query
import pytest

from waiting import eventually
from workbench import Bench

STACK = """
from tierline import *
stack = Stack(
    "places", zones=["a"], hang_after="60s", cdn=CDN(places=["eu-west-1", "us-east-1"]),
    dns=DNS("places.test", ttl="1s", health="/x", health_interval="1m",
            route=Failover(["eu-west-1", "us-east-1"])),
    services=[Service("hello", "hello:app", expose=["/"])],
)
"""
HELLO = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.mark.parametrize("system", ["embedded", "bind9", "powerdns"])
def test_clients_are_sent_to_another_place(bench: Callable[..., Bench], system: str) -> None:
    line = bench(STACK, hello=HELLO)
    line.up("--use", f"dns={system}")
    host, _, port = line.status()["urls"]["dns"].rpartition(":")

    def answer() -> str:
        query = dns.message.make_query("places.test", "A")
        try:
            reply = dns.query.udp(query, host, timeout=5, port=int(port))
        except dns.exception.Timeout:  # a datagram that got lost
            reply = dns.query.udp(query, host, timeout=30, port=int(port))
        return next(item.address for each in reply.answer for item in each)

    def hangs(name: str) -> int:
        pid: int = line.process(name)["pid"]
        os.killpg(pid, signal.SIGSTOP)
        return pid

    assert eventually(lambda: answer() == "127.0.1.1")
    pid = hangs("cdn.eu-west-1")
    try:
        # Its own check would find it after two minutes.
        assert eventually(lambda: answer() == "127.0.2.1")
        log = line.state / "logs/events.log"
        assert eventually(lambda: " left out cdn.eu-west-1:" in log.read_text())
    finally:
        os.killpg(pid, signal.SIGCONT)
    assert eventually(lambda: answer() == "127.0.1.1")
    if system != "embedded":  # another process has the health checks
        pid = hangs("dns.health")
        assert eventually(lambda: line.process("dns.health")["phase"] == "hung")
        os.killpg(pid, signal.SIGCONT)
        assert eventually(lambda: line.process("dns.health")["phase"] == "ready")
