"""Nothing stays behind: after thousands of requests of every kind, the memory is what it was."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref
from typing import Any

import pytest

from tierline.journeys import HTML, Cache, Journey, MemoryStore, NotFound, build
from tierline.journeys.cached import Cached
from tierline.journeys.engine import log
from waiting import becomes

FEW = 120_000
"""Bytes: what a run may differ by, such as a dict that has grown once."""


def make() -> Any:
    film = Journey("film", "/film/{film_id}")

    @film.part(cache=Cache("60s", keys=["film-{film_id}"]))
    async def details(film_id: int) -> dict[str, Any]:
        if film_id == 404:
            raise NotFound("no such film")
        return {"id": film_id, "about": "x" * 500}

    @film.part(deadline="2ms", fallback=[])
    async def similar(details: dict[str, Any]) -> list[Any]:
        # slow: in time or late, as the machine is
        await asyncio.sleep(0.001 if details["id"] % 2 else 1)
        return [1]

    @film.part(retries=1, fallback=None)
    async def failing(film_id: int) -> int | None:
        if film_id % 3 == 0:
            raise RuntimeError("boom")
        return 1

    @film.part(fallback=0)
    async def visits(session: Any) -> int:
        session["visits"] = session.get("visits", 0) + 1
        return int(session["visits"])

    @film.view("web")
    def page(details: dict[str, Any]) -> HTML:
        return HTML("<h1>{id}</h1>", id=details["id"])

    # Stores that hold little: what is theirs to keep is not what is looked for here.
    return build([film], session=MemoryStore(20_000), cache=Cached(MemoryStore(20_000)))


async def ask(application: Any, number: int) -> None:
    films = (7, 8, 9, 404)
    headers = [(b"accept", f"text/html;q=0.{number % 100:03}, application/json".encode())]
    headers += [(b"x-client", (b"web", b"mobile", b"affiliate", b"toaster")[number // 4 % 4])]
    query = (b"", b"stream", b"fields=details.id", b"nothing=%d" % number)[number // 16 % 4]
    path = f"/film/{films[number % 4]}" if number % 7 else f"/nothing/{number}"

    async def receive() -> Any:
        await asyncio.sleep(0 if number % 11 == 0 else 60)  # slow: who leaves or stays
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None: ...

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": headers}
    await application(scope, receive, send)


def test_memory_is_flat_whatever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest keeps every line that is logged.
    monkeypatch.setattr(log, "disabled", True)

    async def main() -> tuple[int, list[Any]]:
        application = make()
        number = 0

        async def many(count: int) -> None:
            nonlocal number
            for _ in range(count // 50):
                await asyncio.gather(*(ask(application, number + index) for index in range(50)))
                number += 50
            assert await becomes(lambda: not application.engine.unwinding and len(asyncio.all_tasks()) == 1)
            gc.collect()

        tracemalloc.start()
        await many(1500)
        before = tracemalloc.take_snapshot()
        await many(1500)
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
        assert not application.engine.unwinding
        await application.stop()
        found = after.compare_to(before, "lineno")
        return sum(each.size_diff for each in found), found[:5]

    grown, where = asyncio.run(main())
    assert grown < FEW, where


class Load(bytearray):
    """Something that says when it is gone."""


@pytest.mark.parametrize("how", ["raises", "raises late", "hangs", "a service raises", "a service hangs"])
@pytest.mark.parametrize("query", ["", "stream"])
def test_what_a_part_held_is_gone_with_its_request(
    how: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "disabled", True)
    held: list[weakref.ref[Load]] = []

    async def works(scope: Any, receive: Any, send: Any) -> None:
        load = Load(5_000_000)
        held.append(weakref.ref(load))
        await asyncio.sleep(0 if "late" in how else 0.001)  # slow: at once or later
        if "hangs" in how:
            await asyncio.sleep(600)
        raise ValueError(f"with {len(load)}")

    film = Journey("film", "/film")

    @film.part(deadline="20ms", fallback=None)
    async def lost(service: Any) -> Any:
        if "service" in how:
            return (await service.get("/a")).json()
        return await works({}, None, None)

    @film.part(deadline="20ms")
    async def failed(lost: Any, service: Any) -> Any:
        if "service" in how:
            return (await service.get("/b")).json()
        return await works({}, None, None)

    async def main() -> None:
        application = build([film], services={"service": works})
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/film",
            "query_string": query.encode(),
            "headers": [],
        }

        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(_: Any) -> None: ...

        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await application(dict(scope), receive, send)
            assert await becomes(lambda: len(held) == 10 and not any(each() is not None for each in held))
        finally:
            gc.enable()
        await application.stop()

    asyncio.run(main())


@pytest.mark.parametrize("value", ["x" * 10, "a value that can't be sent"])
@pytest.mark.parametrize("query", ["", "stream"])
def test_an_answer_that_could_not_be_made_is_gone_too(
    value: str, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "disabled", True)
    film = Journey("film", "/film", most=1_000_000)

    @film.part
    async def huge() -> Any:
        text = value * (3_000_000 // len(value))
        return text if value == "x" * 10 else {"text": text, "odd": object}

    async def main() -> int:
        application = build([film])
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/film",
            "query_string": query.encode(),
            "headers": [],
        }

        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(_: Any) -> None: ...

        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(5):
                await application(dict(scope), receive, send)
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
            gc.enable()
            await application.stop()

    assert asyncio.run(main()) < 2_000_000, "not one of five"
