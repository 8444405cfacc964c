"""What a cache or a place in front of several zones does when the nearest one dies or refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from cache_lab import Answer, Origin, Trial, cc
from cache_line import ORIGIN, Line

from tierline.plan.model import Unit, Upstream
from tierline.run.addresses import Addresses

SYSTEMS = ("nginx", "varnish", "trafficserver")
"""Those that try the next one themselves."""


class TwoZones(Line):
    """One cache or place before an origin in its own zone and one in another."""

    def __init__(self, tier: str, system: str, near: int, far: int, root: Path) -> None:
        super().__init__(tier, system, near, root)
        other = msgspec.structs.replace(ORIGIN, id="origin.b", zone="b")
        known = dict(self.context.addresses.items())
        self.context.addresses = Addresses({**known, ("origin.b", "http"): ("127.0.0.1", far)})
        targets = {"origin": (Upstream("origin", "http", 0), Upstream("origin.b", "http", 1))}
        units = []
        for unit in self.plan.units:
            roles = tuple(msgspec.structs.replace(role, upstreams=targets) for role in unit.roles)
            units.append(msgspec.structs.replace(unit, roles=roles))
        self.plan = msgspec.structs.replace(self.plan, units=tuple(units))
        origins = Unit(id="origins", engine="", region="eu-west-1", zone="a", roles=(ORIGIN, other))
        self.context.plan = msgspec.structs.replace(self.plan, units=(*units, origins))
        self.context._roles = self.context.plan.roles


def on_line(
    tier: str, system: str, root: Path, run: Callable[[Origin, Origin, TwoZones], Awaitable[None]]
) -> None:
    async def whole() -> None:
        near, far = Origin(), Origin()
        await near.start()
        await far.start()
        line = TwoZones(tier, system, near.port, far.port, root)
        try:
            await asyncio.to_thread(line.start)
            await run(near, far, line)
        finally:
            await asyncio.to_thread(line.stop)
            await near.stop()
            await far.stop()

    asyncio.run(whole())


@pytest.mark.parametrize("tier", ["cache", "cdn"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_zone_that_dies_or_refuses_costs_no_request(system: str, tier: str, tmp_path: Path) -> None:
    async def run(near: Origin, far: Origin, line: TwoZones) -> None:
        t = Trial(near, line.address, "x")
        t.script(cc("no-store", body=b"near"))
        Trial(far, line.address, "x").script(cc("no-store", body=b"far"))
        assert {(await t.get(f"/{n}")).body for n in range(4)} == {b"near"}, "the zone's own is asked"
        if (
            tier == "cache"
        ):  # behind a place stands a balancer, which has looked in all zones before it refuses
            t.script(Answer(503))
            assert [(await t.get(f"/refused{n}")).body for n in range(3)] == [b"far"] * 3
        await near.stop()
        assert [(await t.get(f"/dead{n}")).body for n in range(5)] == [b"far"] * 5
        await near.start()
        t.script(cc("no-store", body=b"near"))
        until = time.monotonic() + 5
        while (await t.get("/again")).body != b"near":
            assert time.monotonic() < until, "it isn't asked again"
            await asyncio.sleep(0.1)

    on_line(tier, system, tmp_path, run)


@pytest.mark.parametrize("tier", ["cache", "cdn"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_methods_that_are_never_stored_find_who_is_next(system: str, tier: str, tmp_path: Path) -> None:
    async def run(near: Origin, far: Origin, line: TwoZones) -> None:
        t = Trial(near, line.address, "x")
        t.script(cc("no-store", body=b"near"))
        asked = [("OPTIONS", b""), ("PATCH", b"x"), ("PUT", b"x"), ("DELETE", b"")]
        for method, body in asked:
            assert (await t.get(method=method, body=body)).body == b"near", method
        assert [request.method for request in t.seen] == [method for method, _ in asked]

    on_line(tier, system, tmp_path, run)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_sampled_hop_is_told_at_once_and_once(system: str, tmp_path: Path) -> None:
    async def run(near: Origin, far: Origin, line: TwoZones) -> None:
        t = Trial(near, line.address, "x")
        t.script(cc("max-age=60"))
        until = time.monotonic() + 5
        while not line.hops("a" * 32):  # varnishncsa has no sign of being ready
            assert time.monotonic() < until, "no hops at all"
            await t.get("/first", headers={"traceparent": f"00-{'a' * 32}-{'5' * 16}-01"})
            await asyncio.sleep(0.1)
        for number, verdict in ((1, "miss"), (2, "hit")):
            trace = f"{number:032x}"
            await t.get(headers={"traceparent": f"00-{trace}-{'5' * 16}-01"})
            until = time.monotonic() + 0.25
            while not (found := line.hops(trace)):
                assert time.monotonic() < until, "a trip would miss it"
                await asyncio.sleep(0.01)
            assert [(each.verdict, each.status, each.parent) for each in found] == [(verdict, 200, "5" * 16)]
            assert found[0].span and found[0].name == "GET /x"
        await asyncio.sleep(1.6)
        assert len(line.hops(f"{2:032x}")) == 1

    on_line("cache", system, tmp_path, run)
