"""What an effect drops is old everywhere: at the CDN, in the HTTP cache, and in the memory of every process."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from waiting import PATIENCE
from workbench import Bench

STACK = """
from tierline import *
from tierline.journeys import Cache

film = Journey("film", "/film/{film_id}")
rename = Journey("rename", "/film/{film_id}/title", methods=["POST"])

@film.part(cache=Cache("600s", keys=["film:{film_id}"]))
async def title(film_id: int, catalog) -> str:
    return (await catalog.get("/films/{id}", id=film_id)).text

@rename.effect(drops=["film:{film_id}"])
async def renamed(film_id: int, body: dict, catalog) -> str:
    return (await catalog.put("/films/{id}", id=film_id, json=body)).text

stack = Stack("drops", zones=["a", "b"], cdn=CDN(), lb=LoadBalancer(), cache=HTTPCache(), gateway=Gateway(),
    journeys=[film, rename], services=[Service("catalog", "catalog:app")])
"""

CATALOG = """
import json, pathlib

async def app(scope, receive, send):
    assert scope["type"] == "http"
    file = pathlib.Path(scope["path"].strip("/").replace("/", "-"))
    if scope["method"] == "PUT":
        file.write_text(json.loads((await receive())["body"])["title"])
    body = file.read_bytes() if file.exists() else b"first"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("lineup", ["embedded", "popular"])
def test_the_next_answer_after_an_effect_is_the_new_one(bench: Callable[..., Bench], lineup: str) -> None:
    line = bench(STACK, catalog=CATALOG)
    line.up("--lineup", lineup)
    with httpx.Client(base_url=line.status()["urls"]["http"], timeout=PATIENCE) as client:

        def titles(film: int) -> set[str]:
            """Of the CDN's own copy, and, past its key, of the journeys of both zones."""
            paths = [f"/film/{film}", *(f"/film/{film}?n={n}" for n in range(8))]
            answers = [client.get(path) for path in paths]
            assert {answer.status_code for answer in answers} == {200}, answers
            assert all(
                f"film:{film}" in answer.headers.get("surrogate-key", f"film:{film}") for answer in answers
            )
            return {answer.json()["title"] for answer in answers}

        assert titles(1) == titles(2) == {"first"}
        for title in ("second", "third"):
            answer = client.post("/film/1/title", json={"title": title})
            assert answer.status_code == 200, answer.text
            assert titles(1) == {title}
        assert titles(2) == {"first"}
    assert "stale" not in line.log("events"), line.log("events")
