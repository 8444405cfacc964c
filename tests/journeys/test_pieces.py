"""Deferred parts come after the first screen, live ones for as long as the client listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tierline.errors import StackError
from tierline.journeys import HTML, Event, Journey, NotFound, Query, Reply, Slot, build, explain
from tierline.journeys.testing import Outcome, ask


class Client:
    """A client that reads as it is sent, and may leave."""

    def __init__(self, target: str, **headers: str) -> None:
        path, _, query = target.partition("?")
        self.scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = ""
        self.more = asyncio.Event()
        self.left = asyncio.Event()
        self.whole = False
        self.held: asyncio.Event | None = None

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.text += message["body"].decode()
            self.whole = not message.get("more_body", False)
        self.more.set()
        if self.held is not None:
            await self.held.wait()

    async def until(self, text: str) -> str:
        async with asyncio.timeout(60):
            while text not in self.text:
                self.more.clear()
                await self.more.wait()
        return self.text

    def ask(self, application: Any) -> asyncio.Task[None]:
        return asyncio.create_task(application(self.scope, self.receive, self.send))

    def events(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.text.splitlines() if line]


def product(slow: asyncio.Event, failing: tuple[str, ...] = ()) -> Journey:
    page = Journey("product", "/products/{product_id}")

    def fails(name: str) -> None:
        if name in failing:
            raise NotFound(f"no {name}")

    @page.part
    async def title(product_id: int) -> str:
        await asyncio.sleep(0)
        fails("title")
        return f"<{product_id}>"

    @page.part
    async def price(title: str) -> int:
        await asyncio.sleep(0)
        return 5

    @page.part(hidden=True)
    async def ratings(product_id: int) -> list[int]:
        await slow.wait()
        fails("ratings")
        return [1, 2]

    @page.part(defer=True)
    async def reviews(ratings: list[int]) -> list[int]:
        return ratings

    @page.part(defer=True)
    async def similar(product_id: int) -> list[str]:
        fails("similar")
        return ["a&b"]

    @page.view("web")
    def web(title, price, reviews: Slot, similar) -> HTML:
        return HTML(
            "<!doctype html><html><head><title>{t}</title></head><body class=x><h1>{t}</h1>{p}{r}{s}</body></html>",
            t=title, p=price, r=reviews("wait & see"), s=similar,
        )  # fmt: skip

    @page.view("web", of="reviews")
    def reviewed(reviews: list[int], title) -> HTML:
        fails("piece")
        return HTML("<b>{n} of {t}</b>", n=len(reviews), t=title)

    @page.view("web", of="similar")
    def alike(similar) -> HTML:
        return HTML("{s}", s=similar[0])

    @page.view("mobile")
    def mobile(title, reviews):
        return {"title": title, "reviews": reviews}

    return page


FIRST = (
    "<!doctype html><html><head><title>&lt;7&gt;</title></head><body class=x>"
    '<div><template shadowrootmode="open"><h1>&lt;7&gt;</h1>5<slot name="reviews">wait &amp; see</slot>'
    '<slot name="similar"></slot></template>'
)


def test_a_page_comes_in_pieces_without_a_script() -> None:
    async def main() -> None:
        slow = asyncio.Event()
        client = Client("/products/7", accept="text/html")
        asked = client.ask(build([product(slow)]))
        await client.until("a&amp;b")
        assert client.text == FIRST + '<div slot="similar">a&amp;b</div>'
        assert client.headers["content-type"] == "text/html; charset=utf-8"
        assert client.headers["cache-control"] == "no-store"
        slow.set()
        await asked
        assert client.text == (
            FIRST
            + '<div slot="similar">a&amp;b</div><div slot="reviews"><b>2 of &lt;7&gt;</b></div></div></body></html>'
        )
        assert client.whole and "<script" not in client.text

    asyncio.run(main())


@pytest.mark.parametrize(
    ("head", "screen"),
    [
        ("<!doctype html><title>{t}</title>", "<h1>{t}</h1>"),
        (
            "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>{t}</title></head>\n",
            "<h1>{t}</h1>",
        ),
        ("", "<style>p{{}}</style><h1>{t}</h1>"),
        ("", "{t}"),
    ],
)
def test_a_page_may_leave_its_body_tag_out(head: str, screen: str) -> None:
    """HTML allows it: what comes before the body, its title above all, isn't part of the first screen."""
    page = Journey("page", "/page")

    @page.part
    def title() -> str:
        return "<title>x</title>"

    @page.part(defer=True)
    async def late() -> str:
        return "late"

    @page.view("web")
    def web(title: str, late: Slot) -> HTML:
        return HTML(head + screen + "{l}", t=title, l=late(""))

    @page.view("web", of="late")
    def piece(late: str) -> HTML:
        return HTML("{l}", l=late)

    async def main() -> None:
        client = Client("/page", accept="text/html")
        await client.ask(build([page]))
        title = "&lt;title&gt;x&lt;/title&gt;"
        shown = screen.replace("{t}", title).replace("{{}}", "{}")
        expected = head.replace("{t}", title) + f'<div><template shadowrootmode="open">{shown}'
        assert client.text.startswith(expected)

    asyncio.run(main())


def test_a_first_screen_that_fails_is_a_problem_and_a_piece_that_fails_is_an_empty_slot() -> None:
    async def asked(*failing: str) -> Client:
        slow = asyncio.Event()
        slow.set()
        client = Client("/products/7", accept="text/html")
        await client.ask(build([product(slow, failing)]))
        return client

    async def main() -> None:
        first = await asked("title")
        assert first.status == 404
        assert msgspec.json.decode(first.text)["part"] == "title"
        for failing, status in (("ratings", 404), ("similar", 404), ("piece", 404)):
            client = await asked(failing)
            name = "similar" if failing == "similar" else "reviews"
            assert client.status == 200 and client.text.startswith(FIRST)
            assert f'<span slot="{name}" data-problem="{status}"></span>' in client.text
            assert client.text.endswith("</div></body></html>")

    asyncio.run(main())


def test_a_stream_has_the_first_screen_as_one_event() -> None:
    async def main() -> None:
        slow = asyncio.Event()
        client = Client("/products/7?stream", x_client="affiliate")
        asked = client.ask(build([product(slow)]))
        await client.until("a&b")
        assert client.events() == [
            {"event": "first", "value": {"title": "<7>", "price": 5}},
            {"event": "part", "part": "similar", "value": ["a&b"]},
        ]
        slow.set()
        await asked
        assert client.events()[2:] == [
            {"event": "part", "part": "reviews", "value": [1, 2]},
            {"event": "end", "degraded": [], "skipped": []},
        ]
        failing = Client("/products/7?stream", x_client="affiliate")
        await failing.ask(build([product(slow, ("title",))]))
        assert [each["event"] for each in failing.events()] == ["problem", "part", "part", "end"]

    asyncio.run(main())


def test_an_answer_in_one_piece_waits_for_all() -> None:
    async def main() -> None:
        slow = asyncio.Event()
        slow.set()
        application = build([product(slow)])
        whole = await ask(application, "GET", "/products/7", {"x-client": "affiliate"}, None, Outcome())
        assert whole.body == {"title": "<7>", "price": 5, "reviews": [1, 2], "similar": ["a&b"]}
        mobile = await ask(application, "GET", "/products/7", {"x-client": "mobile"}, None, Outcome())
        assert mobile.body == {"title": "<7>", "reviews": [1, 2]}

    asyncio.run(main())


def test_a_page_in_pieces_has_status_and_cookies_and_no_more_parts_when_its_client_leaves() -> None:
    ended: list[str] = []
    page = Journey("page", "/page")

    @page.part
    def title() -> str:
        return "t"

    @page.part(defer=True)
    async def late() -> str:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("late")
        return "late"

    @page.view("web")
    def web(title, late) -> HTML:
        return Reply(HTML("<p>{t}{l}", t=title, l=late), status=203, cookies={"seen": "1"})  # type: ignore[return-value]

    @page.view("web", of="late")
    def piece(late) -> HTML:
        return HTML(late)

    async def main() -> None:
        client = Client("/page", accept="text/html")
        asked = client.ask(build([page]))
        assert await client.until("</template>") == (
            '<div><template shadowrootmode="open"><p>t<slot name="late"></slot></template>'
        )
        assert client.status == 203 and client.headers["set-cookie"].startswith("seen=1")
        client.left.set()
        await asyncio.wait_for(asked, 60)
        assert ended == ["late"] and not client.whole

    asyncio.run(main())


def test_a_page_whose_first_screen_never_comes_leaves_nothing_open() -> None:
    ended: list[str] = []
    page = Journey("page", "/page", deadline="60s")

    @page.live()
    async def ticks() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            ended.append("ticks")

    @page.part
    async def title(ticks: int, bad: Query[bool] = False) -> str:
        if bad:
            raise NotFound("no title")
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("title")
        return "t"

    @page.part(defer=True)
    async def late() -> str:
        return "late"

    @page.view("web")
    def web(title, late) -> HTML:
        return HTML("{t}{l}", t=title, l=late)

    @page.view("web", of="late")
    def piece(late) -> HTML:
        return HTML(late)

    async def main() -> None:
        application = build([page])
        client = Client("/page", accept="text/html")
        asked = client.ask(application)
        client.left.set()
        await asyncio.wait_for(asked, 60)
        assert sorted(ended) == ["ticks", "title"] and client.status == 0
        failed = Client("/page?bad=true", accept="text/html")
        await failed.ask(application)
        assert failed.status == 404 and ended[2:] == ["ticks"]

    asyncio.run(main())


def test_what_is_deferred_is_checked_when_built() -> None:
    def journey() -> Journey:
        page = Journey("page", "/page")
        page.part(defer=True, name="late")(late)
        return page

    async def late() -> str:
        return "late"

    page = journey()
    page.part(name="needs")(lambda late: late)
    with pytest.raises(StackError, match="part 'needs' needs the deferred part 'late'"):
        build([page])
    page = journey()

    @page.view("web")
    def web(late) -> HTML:
        return HTML("{l}", l=late)

    with pytest.raises(StackError, match=r"nothing says what to put there; @page.view\('web', of='late'\)"):
        build([page])
    page = journey()

    @page.view("web")
    def typed(late: str) -> HTML:
        return HTML(late)

    with pytest.raises(StackError, match="late: Slot"):
        build([page])
    page = journey()

    @page.view("web", of="late")
    def alone(late) -> HTML:
        return HTML(late)

    with pytest.raises(StackError, match="for which no page of 'web' has a slot"):
        build([page])
    with pytest.raises(StackError, match="returns HTML"):
        journey().view("web", of="late")(lambda late: late)


class Ticker:
    """A live part's source."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.asked: list[str] = []
        self.ended = 0

    def journey(self, heartbeat: str = "15s") -> Journey:
        page = Journey("stock", "/stock/{product_id}")

        @page.part
        async def title(product_id: int) -> str:
            return f"p{product_id}"

        @page.live(heartbeat=heartbeat)
        async def left(product_id: int, last_event_id: str) -> AsyncIterator[Event[int]]:
            self.asked.append(last_event_id)
            try:
                while (event := await self.queue.get()) is not None:
                    if isinstance(event, Exception):
                        raise event
                    yield event
            finally:
                self.ended += 1

        @page.view("mobile")
        def mobile(title, left):
            return f"{title}: {left}"

        return page


def test_a_live_part_sends_its_values_with_ids_until_its_client_leaves() -> None:
    async def main() -> None:
        ticker = Ticker()
        application = build([ticker.journey()])
        client = Client("/stock/7?stream", accept="text/event-stream", last_event_id="41")
        asked = client.ask(application)
        await ticker.queue.put(Event(5, id="42"))
        await client.until("id: 42")
        await ticker.queue.put(4)
        await client.until('"value":4')
        await ticker.queue.put(Event(3, id="43"))
        text = await client.until('"value":3}\n\n')
        assert 'event: part\nid: 42\ndata: {"part":"left","value":5}\n\n' in text
        assert text.endswith('event: part\nid: 43\ndata: {"part":"left","value":3}\n\n')
        assert 'event: part\ndata: {"part":"title","value":"p7"}\n\n' in text
        assert ticker.asked == ["41"] and ticker.ended == 0
        client.left.set()
        await asyncio.wait_for(asked, 60)
        assert ticker.ended == 1 and "event: end" not in client.text

    asyncio.run(main())


def test_a_live_part_that_ends_ends_the_stream_and_one_that_fails_is_a_problem() -> None:
    async def main() -> None:
        for last, event in (
            (None, "end"),
            (NotFound("sold"), "problem"),
            (OSError("secret"), "problem"),
            ("x", "problem"),
        ):
            ticker = Ticker()
            client = Client("/stock/7?stream")
            for value in (5, 4, last):
                await ticker.queue.put(value)
            await client.ask(build([ticker.journey()]))
            events = client.events()
            assert {"event": "part", "part": "left", "value": 4} in events
            assert event in [each["event"] for each in events]
            assert events[-1]["event"] == "end" and client.whole and ticker.ended == 1
            assert "secret" not in client.text

    asyncio.run(main())


def test_silence_has_comments_and_a_view_is_made_anew() -> None:
    async def main() -> None:
        ticker = Ticker()
        application = build([ticker.journey("20ms")])
        client = Client("/stock/7?stream", accept="text/event-stream", x_client="mobile")
        asked = client.ask(application)
        await ticker.queue.put(5)
        await client.until(":\n\n:\n\n")
        assert 'event: view\ndata: {"value":"p7: 5"}' in client.text
        await ticker.queue.put(Event(4, "1"))
        assert 'event: view\nid: 1\ndata: {"value":"p7: 4"}' in await client.until("p7: 4")
        client.left.set()
        await asked

    asyncio.run(main())


def test_a_client_that_does_not_read_is_waited_for() -> None:
    async def main() -> None:
        ticker = Ticker()
        client = Client("/stock/7?stream")
        asked = client.ask(build([ticker.journey()]))
        await ticker.queue.put(0)
        await client.until('"value":0')
        client.held = asyncio.Event()
        for value in range(1, 101):
            await ticker.queue.put(value)
        for _ in range(100):
            await asyncio.sleep(0)
        assert ticker.queue.qsize() > 90
        client.held.set()
        await client.until('"value":100')
        await ticker.queue.put(None)
        await asked

    asyncio.run(main())


def test_any_other_answer_has_the_first_value() -> None:
    async def main() -> None:
        ticker = Ticker()
        application = build([ticker.journey()])
        for headers, body in (({}, {"title": "p7", "left": 5}), ({"x-client": "mobile"}, "p7: 5")):
            await ticker.queue.put(Event(5, "42"))
            outcome = await ask(application, "GET", "/stock/7", headers, None, Outcome())
            assert outcome.body == body
            assert outcome.headers["cache-control"] == "no-cache"
        assert ticker.ended == 2
        await ticker.queue.put(None)
        outcome = await ask(application, "GET", "/stock/7", {}, None, Outcome())
        assert outcome.status == 502 and "ended without a value" in outcome.body["detail"]

    asyncio.run(main())


def test_several_live_parts_and_their_calls_are_made_anew() -> None:
    asked: list[str] = []
    told: list[str] = []

    async def clock(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % len(asked)})

    page = Journey("page", "/page", most_calls=3)

    @page.live()
    async def one(last_event_id: str, clock) -> AsyncIterator[Event[int]]:
        told.append(last_event_id)
        for _ in range(5):
            now = (await clock.get("/now")).json()
            yield Event(now, id="a&b=é")

    @page.live()
    async def two(last_event_id: str) -> AsyncIterator[Event[int]]:
        told.append(last_event_id)
        yield Event(0, id="2")

    async def main() -> None:
        application = build([page], services={"clock": clock})
        client = Client("/page?stream", accept="text/event-stream")
        await client.ask(application)
        assert asked == ["/now"] * 5
        identifier = next(line for line in reversed(client.text.splitlines()) if line.startswith("id: "))[4:]
        again = Client("/page?stream", last_event_id=identifier)
        await again.ask(application)
        assert sorted(told) == ["", "", "2", "a&b=é"]

    asyncio.run(main())


def test_live_parts_are_explained_and_checked_when_built() -> None:
    page = Ticker().journey()
    assert "left   live" in explain(page)
    with pytest.raises(StackError, match="a live part is an async generator"):
        Journey("page", "/page").live()(lambda: 1)
    with pytest.raises(StackError, match=r"@journey.live yields several"):

        @Journey("page", "/page").part
        async def several() -> AsyncIterator[int]:
            yield 1

    with pytest.raises(ValueError, match="printable"):
        Event(1, id="a\nevent: end")
