"""The cinema as one server, without a line around it: `site_for_browsers PORT ENVIRONMENT`."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from granian.server.embed import Server
from plain import CINEMA
from starlette.staticfiles import StaticFiles

import journeys
from cinema import catalog, members, orders, posters, ratings
from tierline.journeys import build

EXPOSED = {
    "catalog": ("films", "top"),
    "ratings": ("ratings", "leaderboard"),
    "members": ("login", "logout", "me", "watchlist"),
    "orders": ("orders",),
    "posters": ("posters",),
}
SCREENS = [
    journeys.home, journeys.film, journeys.search, journeys.checkout, journeys.resume, journeys.join,
]  # fmt: skip


async def main(port: int, environment: dict[str, str]) -> None:
    films = {**environment, "DATABASE_URL": environment["DATABASE_READ_URL"]}
    services: dict[str, Any] = {
        "catalog": catalog.create(films),
        "ratings": ratings.create(environment),
        "members": members.create(environment),
        "orders": orders.create(environment),
        "posters": posters.create(films),
    }
    screens = build(SCREENS, services=services, trust_bearer=True)
    prefixes = {path: services[name] for name, paths in EXPOSED.items() for path in paths}
    prefixes |= {journey.path.split("/")[1]: screens for journey in SCREENS}
    files = StaticFiles(directory=CINEMA / "web", html=True)

    async def site(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await prefixes.get(scope["path"].split("/")[1], files)(scope, receive, send)

    async with AsyncExitStack() as stack:
        for service in services.values():
            await stack.enter_async_context(service.router.lifespan_context(service))
        await Server(site, address="127.0.0.1", port=port, interface="asginl").serve()


asyncio.run(main(int(sys.argv[1]), json.loads(sys.argv[2])))
