"""One visit over several devices, through streams and answers that caches may keep."""

from __future__ import annotations

import asyncio
from http.cookies import SimpleCookie
from typing import Any

from tierline.journeys import Cache, Journey, NotFound, build
from tierline.journeys.testing import Outcome, ask
from waiting import PATIENCE

ANN = '{"sub":"ann"}'
EVE = '{"sub":"eve"}'


def cookie_of(outcome: Outcome) -> str:
    (morsel,) = SimpleCookie(outcome.headers["set-cookie"]).values()
    return f"{morsel.key}={morsel.value}"


def shop(events: list[dict[str, Any]] | None = None) -> Any:
    home = Journey("home", "/home")
    film = Journey("film", "/film/{film_id}")
    going_on = Journey("going-on", "/going-on", methods=["GET", "DELETE"])

    @home.part(cache=Cache("60s"))
    async def top():
        return ["Sunrise"]

    @film.part(cache=Cache("60s"))
    async def details(film_id: int):
        if film_id == 404:
            raise NotFound("no such film")
        return film_id

    @film.part(cache=Cache("60s"))
    async def slow(film_id):
        await asyncio.sleep(0.03 if film_id != 8 else 600)  # slow: parts of a stream come apart
        return []

    @going_on.part
    async def stopped(steps, leaving):
        return {funnel: step["path"] for funnel, step in steps.items()}

    @going_on.part(hidden=True)
    async def leaving(session, request):
        if request.method == "DELETE":
            session.leave()

    far = Journey("reached", "/reached")
    pay = Journey("pay", "/pay", methods=["POST"])

    @far.part
    async def reached(steps):
        return {name: step["path"] for name, step in steps.get("buy", {}).get("reached", {}).items()}

    @pay.part
    async def paid():
        return True

    home.step("buy")
    film.step("buy", after=home)
    pay.step("buy", after=film)
    return build([home, film, going_on, far, pay], on_event=(events if events is not None else []).append)


async def get(application: Any, target: str, method: str = "GET", **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await ask(application, method, target, named, None, Outcome())


async def going_on(application: Any, **headers: str) -> Any:
    return (await get(application, "/going-on", **headers)).body["stopped"]


def test_an_answer_that_caches_may_keep_begins_no_visit() -> None:
    events: list[dict[str, Any]] = []

    async def main() -> None:
        application = shop(events)
        outcome = await get(application, "/home")
        assert outcome.headers["cache-control"] == "public, max-age=60"
        assert "set-cookie" not in outcome.headers and not events
        visitor = cookie_of(await get(application, "/home?stream"))
        again = await get(application, "/home", cookie=visitor)
        assert again.headers["cache-control"] == "public, max-age=60"
        assert "x-tierline-step" not in again.headers, "a header that the next visitor would be given too"
        assert len(events) == 2, "whoever is known is counted all the same"

    asyncio.run(main())


def test_a_stream_is_a_step_when_all_of_it_was_delivered() -> None:
    events: list[dict[str, Any]] = []

    async def main() -> None:
        application = shop(events)
        first = await get(application, "/home?stream")
        assert first.headers["cache-control"] == "no-store"
        visitor = cookie_of(first)
        film = await get(application, "/film/7?stream", cookie=visitor)
        assert "set-cookie" not in film.headers
        assert film.body[-1] == {"event": "end", "degraded": [], "skipped": []}
        await get(application, "/film/404?stream", cookie=visitor)
        assert await going_on(application, cookie=visitor) == {"buy": "/film/7"}

    asyncio.run(main())
    assert [(event["step"], event["path"]) for event in events] == [("home", "/home"), ("film", "/film/7")]
    assert len({event["session"] for event in events}) == 1


def test_who_has_seen_a_streams_end_finds_its_step() -> None:
    events: list[dict[str, Any]] = []
    at_the_end: list[int] = []

    async def main() -> None:
        application = shop(events)

        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            if b'"event":"end"' in message.get("body", b""):
                at_the_end.append(len(events))

        scope = {"type": "http", "method": "GET", "path": "/home", "query_string": b"stream", "headers": []}
        await application(scope, receive, send)

    asyncio.run(main())
    assert at_the_end == [1]


def test_a_stream_that_was_left_is_no_step() -> None:
    events: list[dict[str, Any]] = []

    async def main() -> None:
        application = shop(events)
        visitor = cookie_of(await get(application, "/home?stream"))
        scope = {
            "type": "http", "method": "GET", "path": "/film/8", "query_string": b"stream",
            "headers": [(b"cookie", visitor.encode())],
        }  # fmt: skip

        async def receive() -> Any:
            await asyncio.sleep(0.05)  # slow: a client that leaves after a moment
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None: ...

        await asyncio.wait_for(application(scope, receive, send), PATIENCE)
        assert await going_on(application, cookie=visitor) == {"buy": "/home"}

    asyncio.run(main())
    assert [event["step"] for event in events] == ["home"]


def test_a_member_goes_on_on_another_device_without_sending_the_token_each_time() -> None:
    async def main() -> None:
        application = shop()
        laptop = cookie_of(await get(application, "/home?stream"))
        await get(application, "/film/7?stream", cookie=laptop)
        signed_in = await get(application, "/going-on", cookie=laptop, x_tierline_claims=ANN)
        assert signed_in.body["stopped"] == {"buy": "/film/7"}, "what came before signing in comes along"
        old, laptop = laptop, cookie_of(signed_in)
        assert old != laptop and await going_on(application, cookie=old) == {}, (
            "a planted cookie is worth nothing"
        )
        await get(application, "/film/9?stream", cookie=laptop)

        phone = cookie_of(await get(application, "/home?stream"))
        await get(application, "/film/1?stream", cookie=phone)
        await get(application, "/home?stream", cookie=laptop)
        await get(application, "/film/9?stream", cookie=laptop)
        seen = await get(application, "/going-on", cookie=phone, x_tierline_claims=ANN)
        assert seen.body["stopped"] == {"buy": "/film/9"}, "the latest step, wherever it was"
        phone = cookie_of(seen)
        await get(application, "/film/5?stream", cookie=phone)
        assert await going_on(application, cookie=laptop) == {"buy": "/film/5"}
        again = await get(application, "/going-on", cookie=phone, x_tierline_claims=ANN)
        assert "set-cookie" not in again.headers

    asyncio.run(main())


def test_where_each_step_was_is_kept_until_the_last_one() -> None:
    async def main() -> None:
        application = shop()
        laptop = cookie_of(await get(application, "/home?stream"))
        await get(application, "/film/7?stream", cookie=laptop)
        await get(application, "/home?stream", cookie=laptop)
        laptop = cookie_of(await get(application, "/going-on", cookie=laptop, x_tierline_claims=ANN))
        phone = cookie_of(await get(application, "/home?stream"))
        seen = await get(application, "/reached", cookie=phone, x_tierline_claims=ANN)
        assert seen.body["reached"] == {"home": "/home", "film": "/film/7"}, "from the other device"
        phone = cookie_of(seen)
        await get(application, "/pay", "POST", cookie=phone)
        assert (await get(application, "/reached", cookie=laptop)).body["reached"] == {}
        await get(application, "/home?stream", cookie=laptop)
        assert (await get(application, "/reached", cookie=phone)).body["reached"] == {"home": "/home"}

    asyncio.run(main())


def test_another_member_on_the_same_device_gets_a_session_of_their_own() -> None:
    async def main() -> None:
        application = shop()
        visitor = cookie_of(await get(application, "/home?stream"))
        device = cookie_of(await get(application, "/going-on", cookie=visitor, x_tierline_claims=ANN))
        other = await get(application, "/going-on", cookie=device, x_tierline_claims=EVE)
        assert other.body["stopped"] == {}
        assert await going_on(application, x_tierline_claims=ANN) == {"buy": "/home"}
        assert await going_on(application, cookie=device) == {}

    asyncio.run(main())


def test_leaving_drops_the_devices_cookie_and_keeps_what_the_member_has() -> None:
    async def main() -> None:
        application = shop()
        visitor = cookie_of(await get(application, "/home?stream"))
        device = cookie_of(await get(application, "/going-on", cookie=visitor, x_tierline_claims=ANN))
        left = await get(application, "/going-on", "DELETE", cookie=device)
        assert "Max-Age=0" in left.headers["set-cookie"] and "x-session" not in left.headers
        assert await going_on(application, cookie=device) == {}
        assert await going_on(application, x_tierline_claims=ANN) == {"buy": "/home"}

    asyncio.run(main())
