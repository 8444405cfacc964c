"""What somebody who looks at a poster notices."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree

import httpx
import pytest
from plain import serving

from cinema import posters
from cinema.drawing import PALETTES, poster

pytestmark = pytest.mark.real


def test_a_poster_is_drawn_once_and_then_kept(films: str, bucket: dict[str, str]) -> None:
    class Seen(httpx.AsyncHTTPTransport):
        requests: list[tuple[str, str]] = []

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.requests.append((request.method, request.url.path))
            return await super().handle_async_request(request)

    async def main() -> None:
        seen = Seen()
        environment = {**bucket, "DATABASE_READ_URL": films}
        async with serving(posters.create(environment, seen)) as client:
            answers = await asyncio.gather(*(client.get("/posters/20545.svg") for _ in range(4)))
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.content for answer in answers}) == 1
            assert [method for method, _ in seen.requests].count("PUT") <= 3, (
                "the bucket, and the poster, once"
            )
            first = answers[0]
            assert first.headers["content-type"].startswith("image/svg+xml")
            assert "max-age=604800" in first.headers["cache-control"]
            assert "film-20545" in first.headers["surrogate-key"].split()
            assert b"The Godfather" in first.content
            unchanged = await client.get(
                "/posters/20545.svg", headers={"if-none-match": first.headers["etag"]}
            )
            assert unchanged.status_code == 304
        async with serving(posters.create(environment, seen := Seen())) as client:
            seen.requests.clear()
            again = await client.get("/posters/20545.svg")
            assert again.content == first.content and again.headers["etag"] == first.headers["etag"]
            assert seen.requests == [("GET", "/posters/v1/20545.svg")]

    asyncio.run(main())


def test_without_the_bucket_there_is_a_poster_for_a_short_while(films: str, bucket: dict[str, str]) -> None:
    async def main() -> None:
        away = {**bucket, "DATABASE_URL": films, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
        async with serving(posters.create(away)) as client:
            answer = await client.get("/posters/48908.svg")
            assert answer.status_code == 200 and "max-age=60," in answer.headers["cache-control"]

    asyncio.run(main())


def test_no_poster_of_no_film(films: str, bucket: dict[str, str]) -> None:
    async def main() -> None:
        async with serving(posters.create({**bucket, "DATABASE_URL": films})) as client:
            assert (await client.get("/posters/99999999.svg")).status_code == 404
            assert (await client.get("/posters/x.svg")).status_code == 422
            assert (await client.get("/posters/1.png")).status_code == 404

    asyncio.run(main())


@pytest.mark.parametrize("genre", PALETTES)
@pytest.mark.parametrize(
    "title",
    ["M", "<script>alert('x')</script> & \"co\"", "A" * 121, "word " * 24,
     "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb"],
)  # fmt: skip
def test_every_poster_is_a_picture_with_a_name(genre: str, title: str) -> None:
    drawn = poster(7, title, 1972, [genre] if genre else [], 9.1, 100)
    root = ElementTree.fromstring(drawn)
    names = root.findall("{http://www.w3.org/2000/svg}title")
    assert [name.text for name in names] == [f"Poster of {title} (1972)"]
    assert poster(7, title, 1972, [genre] if genre else [], 9.1, 100) == drawn, "the same each time"
    assert len(drawn) < 8000
