"""`tierline delay` of what is asked in datagrams: the name service, HTTP/3."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import dns.message
import dns.query
import dns.rdatatype
import pytest

from waiting import becomes, eventually
from workbench import HELLO, Bench, run

LINE = """
from tierline import CDN, DNS, LoadBalancer, Latency, Service, Stack
stack = Stack(
    "datagrams",
    dns=DNS("datagrams.test", route=Latency()),
    cdn=CDN(places=["eu-west-1", "us-east-1"]),
    lb=LoadBalancer(),
    services=[Service("hello", "hello:app", expose=["/"])],
    region="eu-west-1",
    zones=["a"],
)
"""
HTTP3 = """
from tierline import LoadBalancer, Service, Stack
stack = Stack(
    "quick",
    lb=LoadBalancer(http3=True),
    services=[Service("hello", "hello:app", expose=["/"])],
    zones=["a"],
)
"""


def delay(line: Bench, *words: str) -> None:
    done = run("delay", *words, str(line.folder))
    assert done.returncode == 0, done.stderr


def heal(line: Bench, name: str) -> None:
    done = run("heal", name, str(line.folder))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["embedded", "bind9", "powerdns"])
def named(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp(f"named-{request.param}"), LINE, {"hello": HELLO})
    made.up("--use", f"dns={request.param}")
    try:
        yield made
    finally:
        made.close()


def timed(ask: Callable[[], Any], times: int = 5) -> tuple[float, Any]:
    """Seconds of the quickest, and the last answer."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        answer = ask()
        found.append(time.perf_counter() - began)
    return min(found), answer


def asked(line: Bench, how: Callable[..., Any], source: str) -> Callable[[], Any]:
    host, _, port = line.status()["urls"]["dns"].rpartition(":")
    query = dns.message.make_query("datagrams.test", "A")
    return lambda: sorted(
        item.address for item in how(query, host, port=int(port), timeout=60, source=source).answer[0]
    )


def test_a_name_service_answers_late_over_both_transports(named: Bench) -> None:
    for how in (dns.query.udp, dns.query.tcp):
        before = asked(named, how, "127.0.0.1")()
        delay(named, "dns", "150ms")
        try:
            quickest, answer = timed(asked(named, how, "127.0.0.1"))
            assert quickest >= 0.145 and answer == before
            # A connection is one arrival of its own only where its first bytes come at once.
            assert eventually(lambda: timed(asked(named, how, "127.0.0.1"))[0] < 0.29)  # noqa: B023
        finally:
            heal(named, "dns")
        assert eventually(lambda: timed(asked(named, how, "127.0.0.1"))[0] < 0.14)  # noqa: B023


def test_the_place_that_a_client_is_sent_to_stays_the_same(named: Bench) -> None:
    """Name services tell regions by the address that asks: it is the client's own all the same."""
    trips = [named.trip("/", "--from", region) for region in ("eu-west-1", "us-east-1")]
    delay(named, "dns", "50ms")
    try:
        for before, region in zip(trips, ("eu-west-1", "us-east-1"), strict=True):
            trip = named.trip("/", "--from", region)
            now, was = (next(h for h in each["hops"] if h["tier"] == "dns") for each in (trip, before))
            assert now["verdict"] == was["verdict"]
    finally:
        heal(named, "dns")


def test_no_question_is_lost_when_it_begins_changes_and_ends(named: Bench) -> None:
    import threading

    stop, lost, answers = threading.Event(), [], [0]
    ask = asked(named, dns.query.udp, "127.0.0.1")

    def go() -> None:
        while not stop.is_set():
            try:
                ask()
                answers[0] += 1
            except Exception as error:
                lost.append(repr(error))

    def more() -> None:
        before = answers[0]
        assert eventually(lambda: answers[0] > before + 10)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            delay(named, "dns", "40ms")
            more()
            delay(named, "dns", "10ms")
            more()
            heal(named, "dns")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert lost == []


def test_http3_is_late_too_on_the_connection_it_has(tmp_path: Any) -> None:
    pytest.importorskip("aioquic")
    import asyncio
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent.parent / "contract" / "lb"))
    from http3 import session

    line = Bench(tmp_path, HTTP3, {"hello": HELLO})
    line.up("--use", "lb=envoy")
    try:
        host, port = line.status()["urls"]["https"].removeprefix("https://").rstrip("/").rsplit(":", 1)
        name = line.status()["domain"]

        async def go() -> None:
            loop = asyncio.get_running_loop()
            authority = line.state / "authority" / "ca.pem"
            async with asyncio.timeout(200), session(host, int(port), name, authority) as client:

                async def took() -> float:
                    found = []
                    for _ in range(3):
                        began = loop.time()
                        assert (await client.get(name, "/"))[0] == 200
                        found.append(loop.time() - began)
                    return min(found)

                await took()
                await asyncio.to_thread(delay, line, "lb", "100ms")
                assert await took() >= 0.09
                await asyncio.to_thread(heal, line, "lb")

                async def quick() -> bool:
                    return await took() < 0.09

                assert await becomes(quick)

        asyncio.run(go())
    finally:
        line.close()
