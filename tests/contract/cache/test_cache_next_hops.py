"""What a cache or a place in front of several zones does when the nearest one dies or answers with an error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from cache_lab import Answer, Origin, Trial, cc
from cache_line import ORIGIN, Line

from tierline.plan.model import Unit, Upstream
from tierline.run.addresses import Addresses
from waiting import becomes

SYSTEMS = ("nginx", "varnish", "trafficserver")
"""Those that try the next one themselves."""
PAIRS = [*(("cache", system) for system in SYSTEMS), ("cdn", "nginx"), ("cdn", "varnish")]


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


@pytest.mark.parametrize(("tier", "system"), PAIRS)
def test_a_zone_that_dies_costs_no_request_and_what_it_answers_is_its_own(
    system: str, tier: str, tmp_path: Path
) -> None:
    async def run(near: Origin, far: Origin, line: TwoZones) -> None:
        t = Trial(near, line.address, "x")
        t.script(cc("no-store", body=b"near"))
        Trial(far, line.address, "x").script(cc("no-store", body=b"far"))
        assert {(await t.get(f"/{n}")).body for n in range(4)} == {b"near"}, "the zone's own is asked"
        t.script(Answer(503, body=b"busy"))
        assert [(await t.get(f"/busy{n}")).status for n in range(5)] == [503] * 5, (
            "its own answer, not another's"
        )
        t.script(cc("no-store", body=b"near"))
        assert (await t.get("/well")).body == b"near", "what it answered for one request counts for no other"
        await near.stop()
        assert [(await t.get(f"/dead{n}")).body for n in range(5)] == [b"far"] * 5
        await near.start()
        t.script(cc("no-store", body=b"near"))

        async def near_again() -> bool:
            return (await t.get("/again")).body == b"near"

        assert await becomes(near_again)

    on_line(tier, system, tmp_path, run)


@pytest.mark.parametrize(("tier", "system"), PAIRS)
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

        async def ready() -> bool:  # varnishncsa has no sign of it
            await t.get("/first", headers={"traceparent": f"00-{'a' * 32}-{'5' * 16}-01"})
            return bool(line.hops("a" * 32))

        assert await becomes(ready, every=0.1), "no hops at all"
        for number, verdict in ((1, "miss"), (2, "hit")):
            trace = f"{number:032x}"
            await t.get(headers={"traceparent": f"00-{trace}-{'5' * 16}-01"})
            found = await becomes(lambda: line.hops(trace))  # noqa: B023
            assert [(each.verdict, each.status, each.parent) for each in found] == [(verdict, 200, "5" * 16)]
            assert found[0].span and found[0].name == "GET /x"
        last = f"{3:032x}"
        await t.get(headers={"traceparent": f"00-{last}-{'5' * 16}-01"})
        assert await becomes(lambda: line.hops(last))
        assert len(line.hops(f"{2:032x}")) == 1

    on_line("cache", system, tmp_path, run)
