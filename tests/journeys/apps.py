"""Applications that the tests put on real servers."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec

from tierline.journeys import HTTP, Journey, build

SEEN: list[str] = []


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Tells what it was asked; `/big?n=` answers n bytes, `/slow` never does, `/chunks` without a length."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    path = scope["path"]
    if path == "/slow":
        await asyncio.sleep(600)
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json")],
    }
    if path == "/big":
        await send(start)
        await send(
            {"type": "http.response.body", "body": b"x" * int(scope["query_string"].partition(b"=")[2])}
        )
        return
    if path == "/chunks":
        await send(start)
        for _ in range(5):
            await send({"type": "http.response.body", "body": b"part ", "more_body": True})
            await asyncio.sleep(0.002)  # slow: pieces come apart
        await send({"type": "http.response.body", "body": b"end"})
        return
    if path.startswith("/status/"):
        start["status"] = int(path.rpartition("/")[2])
    await send(start)
    told = {
        "method": scope["method"],
        "path": path,
        "query": scope["query_string"].decode(),
        "headers": {key.decode(): value.decode() for key, value in scope["headers"]},
        "body": body.decode(),
        "pid": os.getpid(),
    }
    await send({"type": "http.response.body", "body": msgspec.json.encode(told)})


film = Journey("film", "/film/{film_id}")


@film.part
async def details(film_id: int, echo):
    return (await echo.get("/films/{id}", id=film_id)).json()["path"]


@film.part(fallback=None)
async def slow(film_id, ms: int = 0):
    SEEN.append("started")
    try:
        await asyncio.sleep(ms / 1000)  # slow: as the test asks
    except asyncio.CancelledError:
        SEEN.append("cancelled")
        raise
    return ms


seen = Journey("seen", "/seen")


@seen.part
def events():
    return SEEN


experience = build(
    [film, seen],
    services={"echo": HTTP(os.environ["ECHO"], name="echo") if os.environ.get("ECHO") else echo},
)
