"""Purging, on every system of the cache and cdn tiers that claims it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from cache_lab import Trial, cc
from cache_line import Line

from tierline.tiers.base import system
from tierline.tiers.cache.tier import Purge
from waiting import becomes


def purge(line: Line, **order: Any) -> None:
    """Purge the line's roles."""
    for role in line.roles:
        if role.part != "origin":
            system(role.slot, role.system).purge(role, line.context, Purge(**order))


Trying = Callable[[Trial, Line], Awaitable[None]]


async def by_path(t: Trial, line: Line) -> None:
    """The path goes in all its variants and queries; its neighbours stay."""
    t.script(cc("max-age=60", vary="x-client"))
    before = [(await t.get("/a", headers={"X-Client": each})).body for each in ("web", "mobile")]
    before.append((await t.get("/a?page=2")).body)
    beside = (await t.get("/ab")).body
    await asyncio.to_thread(purge, line, paths=(f"/{t.key}/a",))
    after = [(await t.get("/a", headers={"X-Client": each})).body for each in ("web", "mobile")]
    after.append((await t.get("/a?page=2")).body)
    assert not set(before) & set(after)
    assert (await t.get("/ab")).body == beside


async def by_prefix(t: Trial, line: Line) -> None:
    """All below goes; what only begins alike stays."""
    t.script(cc("max-age=60"))
    paths = ("/films", "/films/1", "/films/1/stars?x=1")
    before = [(await t.get(path)).body for path in paths]
    beside = (await t.get("/filmstars")).body
    await asyncio.to_thread(purge, line, prefixes=(f"/{t.key}/films/",))
    after = [(await t.get(path)).body for path in paths]
    assert not set(before) & set(after)
    assert (await t.get("/filmstars")).body == beside


async def by_tag(t: Trial, line: Line) -> None:
    """All that carries the tag goes, wherever it is."""
    t.script(
        cc("max-age=60", surrogate_key=f"{t.key}-film {t.key}-list"), cc("max-age=60", surrogate_key=f"{t.key}-films"),
        cc("max-age=60"),
    )  # fmt: skip
    one, two = (await t.get("/1")).body, (await t.get("/2")).body
    assert (await t.get("/1")).body == one
    await asyncio.to_thread(purge, line, tags=(f"{t.key}-film",))
    assert (await t.get("/1")).body != one
    assert (await t.get("/2")).body == two


async def on_its_way(t: Trial, line: Line) -> None:
    """What was fetched before the purge and arrives after it is not kept."""
    slow, purged = cc("max-age=60"), asyncio.Event()
    slow.once = purged.is_set
    t.script(slow, cc("max-age=60"))
    fetching = asyncio.create_task(t.get())
    assert await becomes(lambda: t.asked == 1)
    await asyncio.to_thread(purge, line, paths=(f"/{t.key}",))
    purged.set()
    old = await fetching
    assert (await t.get()).body != old.body


async def by_strangers(t: Trial, line: Line) -> None:
    """Nothing that a client sends purges."""
    t.script(cc("max-age=60"))
    one = await t.get()
    for method in ("PURGE", "BAN", "PURGEKEY"):
        answer = await t.get(method=method, headers={"Surrogate-Key": "x", "X-Purge": "1"})
        assert answer.status in (403, 405), (method, answer.status)
        assert (await t.get()).body == one.body, method


TRYINGS: dict[str, tuple[str, Trying]] = {
    "purge-path": ("purge_path", by_path),
    "purge-prefix": ("purge_prefix", by_prefix),
    "purge-tag": ("purge_tag", by_tag),
    "purge-on-its-way": ("purge_path", on_its_way),
    "purge-strangers": ("", by_strangers),
}
"""What is tried, and the feature that a system must support for it."""
