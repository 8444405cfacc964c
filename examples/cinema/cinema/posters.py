"""Posters: drawn from what is known of a film when first asked for, kept in a bucket."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cinema.aws import Signed
from cinema.drawing import VERSION, poster
from cinema.postgres import Database
from cinema.web import application, cacheable, film_id, not_found

log = logging.getLogger("cinema.posters")

DAY = 24 * 3600


def create(environment: Mapping[str, str], transport: httpx.AsyncBaseTransport | None = None) -> Starlette:
    environment = dict(environment)
    posters: Posters

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal posters
        name = environment.get("POSTERS_BUCKET")
        if not name:
            raise RuntimeError("posters needs POSTERS_BUCKET")
        bucket = Bucket(name, environment, transport)
        films = environment.get("DATABASE_READ_URL") or environment.get("DATABASE_URL")
        async with Database(films, name="posters", largest=2) as database:
            posters = Posters(database, bucket)
            yield
        await bucket.close()

    async def svg(request: Request) -> Response:
        id = film_id(request)
        image, kept = await posters.get(id)
        if image is None:
            raise not_found(f"there is no film {id}")
        # A poster that could not be kept is a good poster, but the bucket should get another chance soon.
        age = 7 * DAY if kept else 60
        answer = cacheable(
            request, image, max_age=age, stale=DAY, keys=f"poster-{id} film-{id}", type="image/svg+xml"
        )
        # An SVG opened by itself is a document: it may style itself and nothing else.
        answer.headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        return answer

    return application([Route("/posters/{film_id}.svg", svg)], lifespan)


class Posters:
    def __init__(self, database: Database, bucket: Bucket) -> None:
        self.database = database
        self.bucket = bucket
        self._asked: dict[int, asyncio.Task[tuple[bytes | None, bool]]] = {}

    async def get(self, id: int) -> tuple[bytes | None, bool]:
        """The poster, and whether the bucket has it."""
        task = self._asked.get(id)
        if task is None:
            # Everybody who asks for one poster at the same time waits for the same work.
            task = self._asked[id] = asyncio.create_task(self._get(id))
            task.add_done_callback(lambda _: self._asked.pop(id, None))
        return await asyncio.shield(task)

    async def _get(self, id: int) -> tuple[bytes | None, bool]:
        key = f"v{VERSION}/{id}.svg"
        kept = True
        try:
            if (image := await self.bucket.get(key)) is not None:
                return image, True
        except (httpx.HTTPError, OSError) as error:
            log.warning("the bucket is away, drawing: %r", error)
            kept = False
        film = await self.database.row(
            "select title, year, genres, rating, votes from films where id = $1", id
        )
        if film is None:
            return None, False
        image = poster(
            id, film["title"], film["year"], film["genres"], film["rating"], film["votes"]
        ).encode()
        if kept:
            try:
                await self.bucket.put(key, image, "image/svg+xml")
            except (httpx.HTTPError, OSError) as error:
                log.warning("the bucket is away, not kept: %r", error)
                kept = False
        return image, kept


class Bucket:
    """What is needed of S3: get, put, and to make the bucket where nobody has."""

    def __init__(
        self, name: str, environment: Mapping[str, str], transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._client = Signed(environment, "s3", transport=transport)
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        if endpoint:
            self._url = f"{endpoint.rstrip('/')}/{name}"
        else:
            self._url = f"https://{name}.s3.{self._client.region}.amazonaws.com"

    async def get(self, key: str) -> bytes | None:
        answer = await self._client.send("GET", f"{self._url}/{key}")
        # Without the right to list, S3 says 403 for what is not there.
        if answer.status_code in (403, 404):
            return None
        return _good(answer).content

    async def put(self, key: str, content: bytes, type: str) -> None:
        headers = {"content-type": type}
        answer = await self._client.send("PUT", f"{self._url}/{key}", headers, content)
        if answer.status_code == 404:
            _good(await self._client.send("PUT", self._url))
            answer = await self._client.send("PUT", f"{self._url}/{key}", headers, content)
        _good(answer)

    async def close(self) -> None:
        await self._client.close()


def _good(answer: httpx.Response) -> httpx.Response:
    if answer.status_code >= 300:
        raise OSError(f"S3: {answer.status_code} {answer.text[:200]}")
    return answer


app = create(dict(os.environ))
