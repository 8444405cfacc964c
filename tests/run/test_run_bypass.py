"""Requests that bypass the HTTP cache, through a whole line: what trips, metrics, copies and purges say of them."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from waiting import PATIENCE
from workbench import Bench, eventually

STACK = """
from tierline import *
stack = Stack(
    "bypass", zones=["a"], lb=LoadBalancer(), cache=HTTPCache(bypass=["/cart"]), gateway=Gateway(),
    services=[Service("shop", "shop:app", expose=["/"]), Service("mine", "shop:app", expose=["/mine"], private=True)],
)
"""
APP = """
number = 0

async def app(scope, receive, send):
    global number
    number += 1
    headers = [(b"cache-control", b"public, max-age=600"), (b"surrogate-key", b"all")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"%d" % number})
"""


@pytest.fixture(scope="module", params=["embedded", "fast"])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("bypass"), STACK, {"shop": APP})
    bench.up("--lineup", request.param)
    yield bench
    bench.close()


def ask(bench: Bench, path: str, method: str = "GET") -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(bench.status()["urls"]["https"].rstrip("/") + path, method=method)
    with urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=PATIENCE) as got:
        return int(got.read()), {name.lower(): value for name, value in got.headers.items()}


def counted(bench: Bench, tier: str) -> int:
    lines = bench.run("metrics").stdout.splitlines()
    return sum(
        int(each.rpartition(" ")[2])
        for each in lines
        if each.startswith(f'tierline_requests_total{{tier="{tier}"')
    )


@pytest.mark.parametrize(("path", "tiers"), [("/cart", []), ("/mine/1", []), ("/films", ["cache"])])
def test_a_trip_has_a_hop_of_the_cache_only_when_the_request_went_through_it(
    bench: Bench, path: str, tiers: list[str]
) -> None:
    def tripped() -> list[dict[str, Any]]:
        hops = bench.trip(path)["hops"]
        return hops if {"lb", "gateway", "feature"} <= {hop["tier"] for hop in hops} else []

    found = [hop["tier"] for hop in eventually(tripped) if hop["tier"] not in ("client", "dns")]
    assert found == ["lb", *tiers, "gateway", "feature"]


def test_no_copy_is_made_and_each_tier_counts_what_it_saw(bench: Bench) -> None:
    lb, cache = counted(bench, "lb"), counted(bench, "cache")
    numbers = {ask(bench, "/cart")[0] for _ in range(10)}
    assert len(numbers) == 10, "each came from the service, whatever it said of copies"
    assert eventually(lambda: counted(bench, "lb") >= lb + 10)
    assert counted(bench, "cache") == cache
    answer, headers = ask(bench, "/mine")
    assert "cache-status" not in headers and "surrogate-key" not in headers and answer


def test_copies_of_all_else_are_kept_and_purged(bench: Bench) -> None:
    first, _ = ask(bench, "/films/1")
    assert ask(bench, "/films/1")[0] == first
    bench.run("purge", "--tag", "all")
    second, _ = ask(bench, "/films/1")
    assert second > first
    ask(bench, "/films/1", method="POST")
    assert ask(bench, "/films/1")[0] > second, (
        "an unsafe method goes through the cache, and takes the copy away"
    )
    bench.run("purge", "--path", "/cart")
