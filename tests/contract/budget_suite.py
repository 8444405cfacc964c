"""What real traffic needs of a whole line: large bodies, slow answers, silent streams, paused readers, many fields.

Each check is a coroutine against the entry of a line; they wait at the same time, so a line takes as long as its
longest wait. `run` gives what became of each, by name: None, or what was wrong.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from waiting import PATIENCE

APP = """
import asyncio
import json
from urllib.parse import parse_qs


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    asked = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    path, size = scope["path"].rsplit("/", 1)[-1], 0
    while (message := await receive())["type"] == "http.request":
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    fields = [(b"content-type", b"application/octet-stream"), (b"cache-control", b"no-store")]
    if path == "fields":
        fields += [(b"x-many-%d" % n, b"x" * 990) for n in range(int(asked["kb"]))]
    if path == "slow":
        await asyncio.sleep(float(asked["seconds"]))
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    if path == "events":
        for event in (b"data: 0\\n\\n", b"data: 1\\n\\n"):
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(float(asked["seconds"]) if event == b"data: 0\\n\\n" else 0)
    if path == "down":
        for _ in range(int(asked["mb"])):
            await send({"type": "http.response.body", "body": b"x" * 1000000, "more_body": True})
    cookies = [value for name, value in scope["headers"] if name == b"cookie"]
    told = {"body": size, "query": len(scope["query_string"]), "cookies": len(b"; ".join(cookies).split(b";"))}
    await send({"type": "http.response.body", "body": b"" if path in ("events", "down") else json.dumps(told).encode()})
"""
"""The service behind the line."""

STACK = """
from tierline import CDN, DNS, Gateway, HTTPCache, LoadBalancer, Route, Service, Simple, Stack
stack = Stack(
    "budget", dns=DNS("budget.test", route=Simple()), cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(),
    gateway=Gateway(max_body="100MB", routes=[Route("/soon", to="web", timeout="1s")]),
    services=[
        Service("web", "app:app", expose=["/"]),
        Service("small", "little:app", expose=["/small"], max_body="64KiB"),
    ],
    zones=["a"],
)
"""
FILES = {"app": APP, "little": APP}

_HEAVY = asyncio.Semaphore(1)
"""What moves many megabytes, one after another: else the client, one process, is what is slow."""
_PIECE = b"x" * 1_000_000
_MB = len(_PIECE)


class Checks:
    """The checks of one line. url: its entry."""

    def __init__(self, url: str, host: str) -> None:
        self._url = url
        self._headers = {"host": host}
        # Whose certificate it is, others look at.
        self._trust = ssl.create_default_context()
        self._trust.check_hostname = False
        self._trust.verify_mode = ssl.CERT_NONE

    def client(self, http2: bool = False) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self._url, headers=self._headers, verify=self._trust, http2=http2, trust_env=False,
            timeout=httpx.Timeout(120, connect=PATIENCE),
        )  # fmt: skip

    async def run(self) -> dict[str, str | None]:
        """What was wrong with each check."""
        names = [name for name in dir(self) if name.startswith("check_")]
        found = await asyncio.gather(*(self._one(getattr(self, name)) for name in names))
        return {name.removeprefix("check_"): wrong for name, wrong in zip(names, found, strict=True)}

    async def _one(self, check: Callable[[], Awaitable[None]]) -> str | None:
        try:
            await check()
        except AssertionError as wrong:
            return str(wrong).splitlines()[0] or "assertion"
        except Exception as wrong:
            return f"{type(wrong).__name__}: {wrong}"
        return None

    async def _get(self, path: str, http2: bool = False, **more: Any) -> httpx.Response:
        async with self.client(http2) as client:
            return await client.get(path, **more)

    async def _send(self, path: str, size: int, http2: bool = False, told: bool = True) -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            for begin in range(0, size, _MB):
                yield _PIECE[: size - begin]

        async with _HEAVY, self.client(http2) as client:
            headers = {"content-length": str(size)} if told else {}
            return await client.post(path, content=body(), headers=headers)

    async def check_20_mb_up(self) -> None:
        answer = await self._send("/up", 20 * _MB, http2=True)
        assert (answer.status_code, answer.json()["body"]) == (200, 20 * _MB), (
            f"{answer.status_code} {answer.text}"
        )

    async def check_100_mb_up(self) -> None:
        answer = await self._send("/up", 100 * _MB)
        assert (answer.status_code, answer.json()["body"]) == (200, 100 * _MB), (
            f"{answer.status_code} {answer.text}"
        )

    async def check_up_without_a_length(self) -> None:
        """As `git push`, `docker push` and streamed uploads are. Nobody bounds it on HAProxy but nginx in front."""
        for http2, path, size, status in (
            (False, "/up", 5 * _MB, 200), (True, "/up", 5 * _MB, 200), (False, "/up", 103 * _MB, 413),
            (False, "/small/up", _MB, 413),
        ):  # fmt: skip
            answer = await self._send(path, size, http2, told=False)
            allowed = (413, 411, 502) if path == "/small/up" else (status,)
            assert answer.status_code in allowed, f"{path} {size}: {answer.status_code} {answer.text}"
            assert answer.status_code != 200 or answer.json()["body"] == size, answer.text
            assert status != 413 or path != "/up" or "Gateway.max_body" in answer.text, answer.text

    async def check_100_mb_down(self) -> None:
        async with _HEAVY:
            answer = await self._get("/down?mb=100")
        assert (answer.status_code, len(answer.content)) == (200, 100 * _MB), f"{answer.status_code}"

    async def check_above_the_limit(self) -> None:
        await self._refused("/up", 100 * _MB + 1, 413, "body larger than Gateway.max_body = ")

    async def check_above_the_limit_of_a_service(self) -> None:
        await self._refused("/small/up", (64 << 10) + 1, 413, "body larger than Service.max_body = 64 KiB")

    async def _refused(self, path: str, size: int, status: int, why: str) -> None:
        answer = await self._send(path, size)
        assert answer.status_code == status, f"{answer.status_code} {answer.text[:200]}"
        assert answer.headers["content-type"] == "application/problem+json", answer.headers["content-type"]
        assert why in answer.json()["detail"], answer.text

    async def check_answer_after_40_s(self) -> None:
        answers = await asyncio.gather(*(self._get("/slow?seconds=40", http2) for http2 in (False, True)))
        assert [answer.status_code for answer in answers] == [200, 200], [
            answer.text[:200] for answer in answers
        ]

    async def check_no_answer_in_time(self) -> None:
        began = asyncio.get_running_loop().time()
        answer = await self._get("/soon/slow?seconds=30", http2=True)
        assert answer.status_code == 504, f"{answer.status_code} {answer.text[:200]}"
        assert asyncio.get_running_loop().time() - began < 20, "it took much longer than the setting says"
        assert "Route.timeout = 1 s" in answer.json()["detail"], answer.text

    async def check_45_s_of_silence(self) -> None:
        answers = await asyncio.gather(*(self._get("/events?seconds=45", http2) for http2 in (False, True)))
        assert [answer.text for answer in answers] == ["data: 0\n\ndata: 1\n\n"] * 2, [
            each.text for each in answers
        ]

    async def check_a_stream_begins_at_once_and_outlives_the_time_for_an_answer(self) -> None:
        async with (
            self.client() as client,
            client.stream("GET", "/soon/events?seconds=4", headers=_EVENTS) as answer,
        ):
            text = "".join([part async for part in answer.aiter_text()])
        assert text == "data: 0\n\ndata: 1\n\n", text

    async def check_a_reader_that_pauses_for_40_s(self) -> None:
        async with self.client() as client, client.stream("GET", "/down?mb=60") as answer:
            got, paused = 0, False
            async for part in answer.aiter_raw():
                got += len(part)
                if not paused:
                    paused = True
                    await asyncio.sleep(42)  # slow: a reader that pauses
        assert got == 60 * _MB, f"{got} bytes arrived"

    async def check_12_and_24_kb_of_answer_fields(self) -> None:
        for size, http2 in ((12, False), (24, False), (24, True)):
            answer = await self._get(f"/fields?kb={size}", http2)
            assert answer.status_code == 200, f"{size} kB: {answer.status_code} {answer.text[:200]}"
            assert sum(name.startswith("x-many-") for name in answer.headers) == size

    async def check_60_cookies(self) -> None:
        crumbs = [f"cookie-{number}=abcdefghijklmnopqrstuvwxyz" for number in range(60)]
        whole = await self._get("/echo", headers={"cookie": "; ".join(crumbs)})
        apart = await self._get("/echo", True, headers=[("cookie", crumb) for crumb in crumbs])
        assert [whole.status_code, apart.status_code] == [200, 200], (whole.text[:200], apart.text[:200])
        assert [whole.json()["cookies"], apart.json()["cookies"]] == [60, 60]

    async def check_a_long_request_line(self) -> None:
        for http2 in (False, True):
            answer = await self._get(f"/echo?{'q' * 7900}", http2)
            assert (answer.status_code, answer.json()["query"]) == (200, 7900), f"{answer.status_code}"

    async def check_30_kb_of_request_fields(self) -> None:
        for http2 in (False, True):
            answer = await self._get("/echo", http2, headers={f"x-{n}": "x" * 6000 for n in range(5)})
            assert answer.status_code == 200, f"{answer.status_code} {answer.text[:200]}"


_EVENTS = {"accept": "text/event-stream"}
