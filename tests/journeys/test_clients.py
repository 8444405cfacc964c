"""Kinds of clients, and the headers that their owners have chosen."""

from __future__ import annotations

import asyncio

import pytest

from tierline.errors import StackError
from tierline.journeys import Journey, build
from tierline.journeys.journey import kind_of
from tierline.journeys.testing import Outcome, ask
from tierline.tiers.client.tier import Affiliate, Mobile, Web


def test_an_intent_its_class_and_its_name_are_the_same() -> None:
    assert {kind_of(Mobile), kind_of(Mobile()), kind_of("mobile")} == {"mobile"}
    for wrong in (5, object(), "No Kind"):
        with pytest.raises(StackError, match="kind of client"):
            kind_of(wrong)


def test_the_headers_of_the_stacks_clients_are_read() -> None:
    film = Journey("film", "/film")

    @film.part
    def who(affiliate, version):
        return [affiliate, version]

    @film.view(Mobile, since="2")
    def mobile(who):
        return {"new": who}

    clients = [Web(), Mobile(version_header="x-build"), Affiliate(header="X-Partner")]
    application = build([film], clients=clients)

    async def get(**headers: str) -> Outcome:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(application, "GET", "/film", named, None, Outcome())

    async def main() -> None:
        partner = await get(x_client="affiliate", x_partner="acme", x_affiliate="other")
        assert partner.body == {"who": ["acme", ""]}
        assert partner.headers["vary"] == "x-client, x-build, x-partner"
        assert (await get(x_client="mobile", x_build="2.1")).body == {"new": ["", "2.1"]}
        assert (await get(x_client="mobile", x_app_version="2.1")).body == {"who": ["", ""]}

    asyncio.run(main())


def test_identity_comes_from_the_gateway_and_never_from_a_client() -> None:
    film = Journey("film", "/film")

    @film.part
    def who(identity):
        return identity and identity["sub"]

    token = "e30.eyJzdWIiOiJldmUifQ.c2ln"

    async def ask_with(headers: dict[str, str], **words: bool) -> object:
        outcome = await ask(build([film], **words), "GET", "/film", headers, None, Outcome())
        assert outcome.headers["cache-control"].startswith("private")
        return outcome.body["who"]

    async def main() -> None:
        assert await ask_with({"x-tierline-claims": "eyJzdWIiOiJhbm4ifQ"}) == "ann"
        assert await ask_with({"authorization": f"Bearer {token}"}) is None
        assert await ask_with({"authorization": f"Bearer {token}"}, trust_bearer=True) == "eve"
        for broken in ("%%%", "bm8", "W10", "x" * 20000):
            assert await ask_with({"x-tierline-claims": broken}) is None

    asyncio.run(main())
