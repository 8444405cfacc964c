"""Services in the same process: the same line of code, the same errors, a lifespan of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from tierline.journeys import HTTP, InProcess, Journey, ServiceClient, ServiceError, build
from tierline.journeys.fault import TooLarge
from tierline.journeys.testing import Outcome, ask


def run(main: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(10):
            return await main

    return asyncio.run(bounded())


def application(log: list[str]) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        log.append("up")
        yield {"pool": "a pool"}
        log.append("down")

    async def echo(request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "id": request.path_params["id"],
                "query": dict(request.query_params),
                "body": (await request.body()).decode(),
                "pool": request.state.pool,
            }
        )

    async def broken(request: Request) -> JSONResponse:
        raise ValueError("a bug")

    async def endless(request: Request) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 100_000

        return StreamingResponse(pieces())

    async def hangs(request: Request) -> JSONResponse:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
        return JSONResponse({})

    routes = [
        Route("/films/{id}", echo, methods=["GET", "POST"]),
        Route("/broken", broken),
        Route("/endless", endless),
        Route("/hangs", hangs),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def test_a_whole_application_is_called_with_its_lifespan_and_state() -> None:
    log: list[str] = []

    async def main() -> None:
        transport = InProcess(application(log), "catalog")
        await transport.open()
        catalog = ServiceClient("catalog", transport)
        told = (await catalog.get("/films/{id}", id="ä b", q="1&2")).json()
        assert told == {"id": "ä b", "query": {"q": "1&2"}, "body": "", "pool": "a pool"}
        told = (await catalog.post("/films/{id}", id=1, json={"a": 1})).json()
        assert told["body"] == '{"a":1}'
        with pytest.raises(ServiceError, match="404"):
            await catalog.get("/lost")
        with pytest.raises(ServiceError, match="catalog: 500"):
            await catalog.get("/broken")
        with pytest.raises(TooLarge):
            await ServiceClient("catalog", transport, most=1_000_000).get("/endless")
        await transport.close()
        assert log == ["up", "down"]

    run(main())


def test_a_lifespan_of_somebody_else_is_left_alone() -> None:
    log: list[str] = []

    async def main() -> None:
        transport = InProcess(application(log), "catalog", lifespan=False, state={"pool": "theirs"})
        await transport.open()
        told = (await ServiceClient("catalog", transport).get("/films/1")).json()
        assert told["pool"] == "theirs"
        await transport.close()
        assert log == []

    run(main())


def test_a_failed_start_up_is_told() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    async def main() -> None:
        with pytest.raises(ServiceError, match=r"catalog: its start-up failed[\s\S]*no database"):
            await InProcess(Starlette(lifespan=lifespan), "catalog").open()

    run(main())


def test_a_raw_application_that_raises_or_says_nothing_is_told() -> None:
    async def raises(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("x")

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return None

    async def main() -> None:
        with pytest.raises(ServiceError, match="raised KeyError"):
            await ServiceClient("a", InProcess(raises, "a")).get("/")
        with pytest.raises(ServiceError, match="without an answer"):
            await ServiceClient("a", InProcess(silent, "a")).get("/")

    run(main())


def test_a_parts_deadline_cancels_the_application_below_it() -> None:
    log: list[str] = []
    film = Journey("film", "/film")

    @film.part(deadline="50ms", fallback="late")
    async def details(catalog):
        return (await catalog.get("/hangs")).json()

    async def main() -> None:
        app = build([film], services={"catalog": application(log)})
        await app.start()
        outcome = await ask(app, "GET", "/film", {}, None, Outcome())
        assert outcome.body["details"] == "late" and outcome.degraded == ["details"]
        await app.stop()
        assert log == ["up", "cancelled", "down"]
        assert not app.engine.unwinding

    run(main())


def test_what_a_service_says_of_its_own_failure_is_logged_and_not_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def raises(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("password=hunter2")

    async def says(scope: Any, receive: Any, send: Any) -> None:
        status = int(scope["path"].rpartition("/")[2])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send(
            {"type": "http.response.body", "body": b"password=hunter2" if status > 499 else b"no such film"}
        )

    film = Journey("film", "/film")

    @film.part
    async def details(service, path: str = "/"):
        return (await service.get(path)).json()

    async def answered(service: Any, path: str = "/") -> Outcome:
        app = build([film], services={"service": service})
        outcome = await ask(app, "GET", f"/film?path={path}", {}, None, Outcome())
        await app.stop()
        return outcome

    async def main() -> None:
        details = [
            (await answered(raises)).problem,
            (await answered(says, "/500")).problem,
            (await answered(HTTP("127.0.0.1:9", name="service"))).problem,
            (await answered(says, "/404")).problem,
        ]
        assert [each and each["detail"] for each in details] == [
            "service: it raised ValueError",
            "service: it answered 500",
            "service: it can't be reached",
            "service: it answered 404",
        ]

    run(main())
    assert caplog.text.count("hunter2") >= 2 and "127.0.0.1:9" in caplog.text
    assert "in raises" in caplog.text, "where it was raised, as a server of its own would tell"


def test_journeys_in_this_process_leave_their_callers_time_key_and_fields_alone() -> None:
    """As with a call over HTTP: what is called knows what its header fields say, and changes nothing of its caller's."""
    seen: list[dict[str, str]] = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"1"})

    near = Journey("near", "/near", methods=["POST"], deadline="500ms")
    order = Journey("order", "/order", methods=["POST"], deadline="60s")

    @near.part
    async def noted(notes) -> int:
        return (await notes.post("/notes")).json()

    @order.effect
    async def placed(nearby, notes) -> int:
        await nearby.post("/near")
        return (await notes.post("/orders")).json()

    async def main() -> None:
        nearby = build([near], services={"notes": service})
        app = build(
            [order], services={"nearby": nearby, "notes": service}, forward={"notes": ["authorization"]}
        )
        sent = {"authorization": "Bearer token", "idempotency-key": "k"}
        outcome = await ask(app, "POST", "/order", sent, None, Outcome())
        assert outcome.body == {"placed": 1}

    run(main())
    inner, outer = seen
    assert "idempotency-key" not in inner and outer["idempotency-key"] == "k.2"
    assert outer["authorization"] == "Bearer token" and int(outer["x-request-deadline-ms"]) > 10_000
