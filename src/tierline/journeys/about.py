"""Requests that no journey answers, and what an operator or a generated client asks of the application."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tierline.journeys.engine import Engine
from tierline.journeys.passage import Passage
from tierline.journeys.problem import MEDIA as PROBLEM
from tierline.journeys.problem import problem
from tierline.journeys.routes import Route


class About:
    """`/-/health`, `/-/openapi.json`, `/-/journeys`, `/-/metrics`; else 404 or 405 with what there is."""

    def __init__(self, routes: list[Route], engine: Engine) -> None:
        self._engine = engine
        self._routes = routes
        self._journeys = [route.journey for route in routes]
        self._documents: dict[str, bytes] = {}
        self.passages: list[Passage] = []

    async def answer(self, found: list[Route], scope: Any, send: Any) -> None:
        path: str = scope["path"]
        head = scope["method"] == "HEAD"
        if found:
            allowed = sorted({method for route in found for method in route.journey.methods})
            listed = ", ".join(allowed)
            body = problem(405, "method-not-allowed", "Not answered with this method", f"allowed: {listed}")
            await send_problem(send, 405, body, head, [(b"allow", listed.encode())])
            return
        media = "application/json"
        if path == "/-/health":
            data = b'{"status":"ok"}'
        elif path == "/-/openapi.json":
            data = self._documents.get(path) or self._openapi(path)
        elif path == "/-/metrics":
            from tierline.journeys.metrics import MEDIA, metrics

            data, media = metrics(self._engine), MEDIA
        elif path == "/-/journeys":
            from tierline.journeys.explaining import explain

            told = [explain(route.journey, services=route.services) for route in self._routes]
            data, media = "\n\n".join(told).encode(), "text/plain; charset=utf-8"
        else:
            there = [{"name": journey.name, "path": journey.path} for journey in self._journeys]
            why = f"no journey answers {path[:200]}"
            body = problem(404, "no-such-journey", "No such journey", why, journeys=there)
            await send_problem(send, 404, body, head)
            return
        headers = [(b"content-type", media.encode()), (b"content-length", b"%d" % len(data))]
        headers.append((b"cache-control", b"no-store"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else data})

    def _openapi(self, path: str) -> bytes:
        from tierline.journeys.openapi import document

        data = self._documents[path] = document(self._journeys, passages=self.passages)
        return data


async def send_problem(
    send: Any, status: int, body: bytes, head: bool, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [
        (b"content-type", PROBLEM),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})
