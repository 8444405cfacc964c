"""`?stream`: the quick parts first, and what a view hides stays hidden."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tierline.journeys import Journey, NotFound, Reply, build
from tierline.journeys.testing import Outcome, ask
from waiting import becomes

SENT: list[str | None] = []
"""Parts whose events the client has."""


def journey(*, fail: bool = False) -> Journey:
    film = Journey("film", "/film/{film_id}")

    @film.part
    async def slow(film_id: int):
        await becomes(lambda: "late" in SENT, within=10)  # it ends after the others have arrived
        return "slow"

    @film.part
    async def quick(film_id):
        return {"price": 5, "secret": 3}

    @film.part
    async def after(quick):
        if fail:
            raise NotFound("no after")
        return "after"

    @film.part(deadline="300ms", fallback="fallen")
    async def late(film_id):
        await asyncio.sleep(600)

    @film.part
    async def last(after):
        return "last"

    @film.view("affiliate")
    def affiliate(quick):
        return {"price": quick["price"]}

    @film.view("mobile", stream=True)
    def mobile(quick, late: str):
        return quick

    return film


async def stream(application: Any, **headers: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The events as they come."""
    found: list[dict[str, Any]] = []
    answered: dict[str, str] = {}
    SENT.clear()

    async def receive() -> Any:
        await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.update({k.decode(): v.decode() for k, v in message["headers"]})
            return
        text = message["body"].decode()
        if answered["content-type"] == "text/event-stream":
            for block in filter(None, text.split("\n\n")):
                kind, data = block.split("\n")
                event = {
                    "event": kind.removeprefix("event: "),
                    **msgspec.json.decode(data.removeprefix("data: ")),
                }
                found.append(event)
        else:
            found.extend(msgspec.json.decode(line) for line in text.splitlines())
        SENT[:] = [event.get("part") for event in found]

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/film/7",
        "query_string": b"stream",
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
    }
    await application(scope, receive, send)
    return found, answered


def test_parts_come_as_they_finish() -> None:
    for accept in ("text/event-stream", "application/x-ndjson"):
        events, headers = asyncio.run(stream(build([journey()]), accept=accept))
        assert headers["content-type"] == accept
        assert [event.get("part") for event in events] == ["quick", "after", "last", "late", "slow", None]
        assert events[0]["value"] == {"price": 5, "secret": 3}
        missing = {"part": "late", "fields": ["late"], "why": "deadline-exceeded"}
        missing |= {"retryable": True, "stale": False}
        assert events[3] == {"event": "part", "part": "late", "value": "fallen", "degraded": [missing]}
        assert events[-1] == {"event": "end", "degraded": [missing], "skipped": []}


def test_a_failing_part_is_an_event_and_its_siblings_still_come() -> None:
    events, _ = asyncio.run(stream(build([journey(fail=True)])))
    problems = [event for event in events if event["event"] == "problem"]
    assert [problem["part"] for problem in problems] == ["after"]
    assert problems[0]["problem"]["detail"] == "no after"
    assert [event["part"] for event in events if event["event"] == "part"] == ["quick", "late", "slow"]
    assert events[-1]["skipped"] == ["last"]


def test_what_a_view_hides_is_not_streamed() -> None:
    application = build([journey()])
    events, _ = asyncio.run(stream(application, x_client="affiliate"))
    assert [event for event in events] == [
        {"event": "part", "part": "quick"},
        {"event": "view", "value": {"price": 5}},
        {"event": "end", "degraded": [], "skipped": []},
    ]
    events, _ = asyncio.run(stream(application, x_client="mobile"))
    assert [event["part"] for event in events[:-1]] == ["quick", "late"]
    assert events[0]["value"] == {"price": 5, "secret": 3}


def test_a_form_that_it_has_not_is_refused() -> None:
    _, headers = asyncio.run(stream(build([journey()]), accept="image/png"))
    assert headers["content-type"] == "application/problem+json"


def test_a_stream_tells_of_effects_and_the_next_one_is_a_new_request() -> None:
    buy = Journey("buy", "/buy", methods=["POST"])
    orders: list[int] = []

    @buy.effect
    async def order() -> Reply[int]:
        orders.append(1)
        return Reply(len(orders), headers={"x-order": str(len(orders))})

    @buy.part
    async def advice(order: int) -> str:
        return "none"

    async def main() -> None:
        app = build([buy])
        first = await ask(app, "POST", "/buy?stream", {}, None, Outcome())
        cookie = first.headers["set-cookie"].split(";")[0]
        second = await ask(app, "POST", "/buy?stream", {"cookie": cookie}, None, Outcome())
        for number, outcome in ((1, first), (2, second)):
            assert outcome.headers["x-order"] == str(number)
            assert outcome.body == [
                {"event": "part", "part": "order", "value": number},
                {"event": "part", "part": "advice", "value": "none"},
                {"event": "end", "degraded": [], "skipped": []},
            ]

    asyncio.run(main())
