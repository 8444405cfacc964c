"""Countries that are allowed, and what a stack file may say of countries."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from cache_lab import Origin, Trial, cc
from cache_line import Line
from cdn_suite import come_from

from tierline.engines.answers.networks import behind_loopback
from tierline.errors import StackError
from tierline.tiers.cdn.common.places import networks
from tierline.tiers.cdn.tier import Countries
from tierline.tiers.dns.common.places import client


@pytest.mark.parametrize("system", ["nginx", "varnish"])
def test_only_clients_of_the_allowed_countries_are_served(system: str, tmp_path: Path) -> None:
    async def run() -> None:
        origin = Origin()
        await origin.start()
        line = Line("cdn", system, origin.port, tmp_path, countries=Countries(allow=("IE", "DE")))
        try:
            await asyncio.to_thread(line.start)
            Trial(origin, line.address, "film").script(cc("max-age=60"))
            wanted = {"eu-west-1": 200, "eu-central-1": 200, "us-east-1": 403, "eu-west-2": 403}
            for region, status in wanted.items():
                found = await come_from(behind_loopback(client(region)), line, "/film")
                assert found.status == status, region
            assert (await come_from("127.0.0.1", line, "/film")).status == 200, "the stack's own region"
            assert (await come_from("127.200.0.1", line, "/film")).status == 403, "nobody knows where that is"
        finally:
            await asyncio.to_thread(line.stop)
            await origin.stop()

    asyncio.run(run())


def test_only_the_networks_of_the_named_countries_are_listed() -> None:
    found = dict(networks("eu-west-1", ("DE",)))
    assert set(found.values()) == {"DE"} and len(found) == 3
    assert "127.0.0.0/16" in dict(networks("eu-central-1", ("DE",)))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "allow= or deny="),
        ({"allow": ("DE",), "deny": ("US",)}, "allow= or deny="),
        ({"deny": ("Germany",)}, "ISO 3166-1"),
    ],
)
def test_a_mistake_says_what_is_allowed(given: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(StackError, match=said):
        Countries(**given)
