"""What the five applications share about HTTP: JSON, problems, validation, and how answers are cached."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

T = TypeVar("T")

HEALTH_DEADLINE = 2.0
"""Seconds for what a health check asks."""
encode = msgspec.json.Encoder().encode
Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class Problem(Exception):
    """An answer that is a problem document (RFC 9457)."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def response(self) -> Response:
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        headers = {"cache-control": "no-store", **self.headers}
        return Response(encode(body), self.status, headers, "application/problem+json")


def not_found(what: str) -> Problem:
    # A short life in caches: a flood of requests for what is not there must not reach the database each time.
    return Problem(404, "Not found", what, headers={"cache-control": "public, max-age=5"})


def invalid(field: str, why: str) -> Problem:
    return Problem(422, "Invalid request", f"{field}: {why}", errors=[{"field": field, "why": why}])


def json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer that no cache may keep."""
    return Response(
        encode(content), status, {"cache-control": "no-store", **(headers or {})}, "application/json"
    )


def cacheable(
    request: Request, body: bytes, *, max_age: int, stale: int, keys: str, type: str = "application/json"
) -> Response:
    """An answer that browsers, the CDN and the HTTP cache may keep; `keys` are what it can be purged by."""
    etag = f'"{hashlib.blake2b(body, digest_size=9).hexdigest()}"'
    headers = {
        "cache-control": f"public, max-age={max_age}, stale-while-revalidate={stale}",
        "etag": etag,
        "surrogate-key": keys,
    }
    known = request.headers.get("if-none-match", "")
    if known and (known == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, type)


async def body(request: Request, type: type[T]) -> T:
    """The request's JSON body as `type`, or a 422 that names the field."""
    raw = await request.body()
    try:
        return msgspec.json.decode(raw, type=type)
    except msgspec.ValidationError as error:
        why, _, place = str(error).partition(" - at `$")
        field = place.strip("`.") or (why.split("`")[1] if "field `" in why else "body")
        raise invalid(field, why[:1].lower() + why[1:]) from None
    except msgspec.DecodeError:
        raise invalid("body", "is not JSON") from None


def integer(values: Mapping[str, str], name: str, *, low: int, high: int, default: int | None = None) -> int:
    """A whole number from the query or the path."""
    given = values.get(name)
    if given is None or given == "":
        if default is None:
            raise invalid(name, "is missing")
        return default
    # int() would accept "1_000" and digits of other scripts.
    if not given.isascii() or not given.removeprefix("-").isdigit() or len(given) > 18:
        raise invalid(name, "must be a whole number")
    if not low <= int(given) <= high:
        raise invalid(name, f"must be from {low} to {high}")
    return int(given)


def film_id(request: Request) -> int:
    return integer(request.path_params, "film_id", low=1, high=2**31 - 1)


def subject(request: Request) -> str | None:
    """Who the bearer token is about. The gateway has checked the token; here it is only read."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or token.count(".") != 2:
        return None
    payload = token.split(".")[1]
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None
    found = claims.get("sub") if isinstance(claims, dict) else None
    return found if isinstance(found, str) else None


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Problem(error.status_code, error.detail, error.detail, headers=error.headers).response()


async def _failed(_: Request, error: Exception) -> Response:
    return Problem(500, "Internal error", "the service failed; the log has more").response()


async def _timed_out(_: Request, error: Exception) -> Response:
    return Problem(
        503, "Unavailable", "a back end did not answer in time", headers={"retry-after": "1"}
    ).response()


def application(
    routes: Sequence[BaseRoute], lifespan: Lifespan, check: Callable[[], Awaitable[None]] | None = None
) -> Starlette:
    """A Starlette application with the shared error answers and `GET /health`.

    Health says what is true: check asks what the service can't answer without, its database, and raises when that is
    away. It has longer than a failover takes; who asks gets an answer in any case.
    """

    async def health(_: Request) -> Response:
        try:
            async with asyncio.timeout(HEALTH_DEADLINE):
                if check is not None:
                    await check()
        except Exception as error:
            why = str(error) or f"no answer within {HEALTH_DEADLINE:g} s"
            return json({"status": "down", "why": f"{type(error).__name__}: {why}"}, 503)
        return json({"status": "ok"})

    return Starlette(
        routes=[*routes, Route("/health", health)],
        lifespan=lifespan,
        exception_handlers={
            Problem: _problem,
            HTTPException: _http,
            TimeoutError: _timed_out,
            Exception: _failed,
        },
    )
