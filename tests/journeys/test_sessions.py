"""Sessions, and the steps of a funnel that are kept in them."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie
from typing import Any

import pytest

from tierline.journeys import Journey, MemoryStore, SessionStore, build
from tierline.journeys.testing import Outcome, ask


async def get(application: Any, target: str, method: str = "GET", **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(application, method, target, named, None, Outcome())


def cookie_of(outcome: Outcome) -> str:
    (morsel,) = SimpleCookie(outcome.headers["set-cookie"]).values()
    assert morsel["httponly"] and morsel["samesite"] == "Lax"
    return f"{morsel.key}={morsel.value}"


def shop() -> list[Journey]:
    home = Journey("home", "/home")
    film = Journey("film", "/film/{film_id}")
    checkout = Journey("checkout", "/checkout", methods=["POST"])

    @home.part
    async def steps_so_far(steps):
        return {funnel: step["step"] for funnel, step in steps.items()}

    @film.part
    async def details(film_id: int):
        return film_id

    @checkout.part
    async def basket(session):
        session["paid"] = True
        return dict(session)

    home.step("buy")
    film.step("buy", after=home)
    checkout.step("buy", after=film)
    return [home, film, checkout]


def test_steps_chain_journeys_and_each_is_an_event() -> None:
    events: list[dict[str, Any]] = []

    async def main() -> None:
        application = build(shop(), on_event=events.append)
        first = await get(application, "/home", x_client="mobile")
        cookie = cookie_of(first)
        assert first.headers["x-tierline-step"] == "buy;1/3"
        assert first.headers["cache-control"] == "private, no-cache"
        film = await get(application, "/film/7", cookie=cookie)
        assert film.headers["x-tierline-step"] == "buy;2/3"
        assert "set-cookie" not in film.headers
        assert (await get(application, "/checkout", "POST", cookie=cookie)).body["basket"] == {"paid": True}
        assert (await get(application, "/home", cookie=cookie)).body["steps_so_far"] == {"buy": "checkout"}

    asyncio.run(main())
    assert [(event["step"], event["index"], event["of"], event["previous"]) for event in events] == [
        ("home", 0, 3, ""),
        ("film", 1, 3, "home"),
        ("checkout", 2, 3, "film"),
        ("home", 0, 3, "checkout"),
    ]
    assert events[0]["client"] == "mobile"
    assert len({event["session"] for event in events}) == 1
    assert events[1]["path"] == "/film/7"


def test_a_step_that_was_not_reached_this_way_is_none() -> None:
    events: list[dict[str, Any]] = []

    async def main() -> None:
        application = build(shop(), on_event=events.append)
        outcome = await get(application, "/film/7")
        assert "x-tierline-step" not in outcome.headers
        assert "set-cookie" not in outcome.headers, "a visit that leaves nothing behind gets no cookie"

    asyncio.run(main())
    assert events == []


def test_who_signs_in_goes_on_on_another_device() -> None:
    async def main() -> None:
        application = build(shop())
        claims = '{"sub":"ann"}'
        visitor = cookie_of(await get(application, "/home"))
        await get(application, "/film/7", cookie=visitor)
        await get(application, "/film/7", cookie=visitor, x_tierline_claims=claims)
        phone = await get(application, "/home", x_client="mobile", x_tierline_claims=claims)
        assert phone.body["steps_so_far"] == {"buy": "film"}
        assert "set-cookie" not in phone.headers

    asyncio.run(main())


def test_an_id_from_outside_is_not_taken_over() -> None:
    async def main() -> None:
        application = build(shop())
        for given in ("user:ann", "A" * 32, "../x", "x" * 5000):
            outcome = await get(application, "/home", x_session=given)
            assert given not in outcome.headers["set-cookie"]

    asyncio.run(main())


class Broken(MemoryStore):
    async def get(self, key: str) -> bytes | None:
        raise ConnectionError("down")

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        raise ConnectionError("down")


def test_a_session_store_that_is_gone_degrades_and_never_fails() -> None:
    async def main() -> None:
        application = build(shop(), session=SessionStore(Broken()))
        outcome = await get(application, "/home", x_session="A" * 32)
        assert outcome.status == 200
        assert outcome.degraded == ["session"]
        assert (await get(application, "/film/7", x_session="A" * 32)).status == 200

    asyncio.run(main())


class Full(MemoryStore):
    """A store that takes nothing more."""

    full = False

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        if self.full:
            raise ConnectionError("OOM command not allowed")
        await super().put(key, value, ttl)


def test_what_a_client_was_told_to_have_written_is_kept() -> None:
    """A step may be lost, and what a GET notes; a write that was not saved is told."""
    cart = Journey("cart", "/cart/{item}", methods=["GET", "PUT"])

    @cart.part
    def items(item: int, session) -> list[int]:
        if item:
            session.setdefault("items", []).append(item)
        return session.get("items", [])

    cart.step("buy")
    store = Full()

    async def main() -> None:
        application = build([cart], session=SessionStore(store))

        async def asks(item: int, method: str, **headers: str) -> Outcome:
            return await ask(application, method, f"/cart/{item}", headers, None, Outcome())

        known = (await asks(1, "PUT")).headers["set-cookie"].partition(";")[0]
        store.full = True
        assert (await asks(0, "PUT")).status == 200, "only its step is lost"
        for headers, why in (({}, "session-not-saved"), ({"cookie": known}, "session-away")):
            lost = await asks(2, "PUT", **headers)
            assert lost.status == 503 and lost.headers["retry-after"] == "1" and lost.problem
            assert lost.problem["type"].endswith(why) and "set-cookie" not in lost.headers
            assert "OOM" not in str(lost.body)
        assert (await asks(3, "GET")).status == 200
        seen = await asks(0, "GET", cookie=known)
        assert seen.body == {"items": [1]} and "set-cookie" not in seen.headers
        store.full = False
        assert (await asks(4, "PUT", cookie=known)).body == {"items": [1, 4]}
        store.get = Broken().get  # type: ignore[method-assign]
        assert (await asks(5, "PUT", cookie=known)).status == 503, "nobody is taken for a new visitor"
        del store.get  # type: ignore[attr-defined]
        assert (await asks(6, "PUT", cookie=known)).body == {"items": [1, 4, 6]}

    asyncio.run(main())


def test_an_event_that_cannot_be_handed_on_harms_nothing() -> None:
    async def broken(event: dict[str, Any]) -> None:
        raise OSError("queue down")

    async def main() -> None:
        application = build(shop(), on_event=broken)
        assert (await get(application, "/home")).status == 200

    asyncio.run(main())


class Far(MemoryStore):
    """A store that takes a while, as one elsewhere does."""

    async def get(self, key: str) -> bytes | None:
        await asyncio.sleep(0.002)  # slow: as a store elsewhere
        return await super().get(key)

    async def add(self, key: str, value: bytes, ttl: float) -> bool:
        added = await super().add(key, value, ttl)
        await asyncio.sleep(0.002)  # slow: as a store elsewhere
        return added


def counted(*methods: str) -> Journey:
    home = Journey("home", "/home", methods=methods)

    @home.part
    async def count(session):
        session["n"] = session.get("n", 0) + 1
        return session["n"]

    home.step("buy")
    return home


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_stream_that_is_a_step_has_one_session(method: str) -> None:
    async def main() -> None:
        app = build([counted(method)], session=SessionStore(Far()))
        cookie = cookie_of(await get(app, "/home", method))
        for number in (2, 3):
            outcome = await get(app, "/home?stream", method, cookie=cookie)
            assert outcome.body[0] == {"event": "part", "part": "count", "value": number}

    asyncio.run(main())


def test_a_client_that_leaves_while_its_session_is_loaded_locks_nobody_out() -> None:
    async def main() -> None:
        app = build([counted("POST")], session=SessionStore(Far()))
        cookie = cookie_of(await get(app, "/home", "POST"))
        for wait in (0.001, 0.003, 0.005, 0.007):
            left = asyncio.ensure_future(get(app, "/home", "POST", cookie=cookie))
            await asyncio.sleep(wait)  # slow: each client leaves at another moment
            left.cancel()
            await asyncio.wait([left])
        assert (await get(app, "/home", "POST", cookie=cookie)).status == 200

    asyncio.run(main())
