"""`tierline openapi`: journeys, services' own documents and the gateway's policies, merged into one valid document."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from workbench import Bench, run

STACK = """
from journeys import film
from tierline import JWT, Gateway, Route, Service, Stack, Version

stack = Stack(
    "films",
    gateway=Gateway(
        auth=JWT(issuer="i", audience="us", paths=["/film", "/members"]),
        routes=[
            Route("/catalogue", to="catalog", rewrite="/films"),
            Route("/films/{film_id}", response_body={"film": "{title}", "v": 2}),
            Route("/plain/{id}/x", request_body={"id": "{id}", "stars": "{rating.stars}"}),
        ],
        versions=[Version("v1", deprecated="2026-01-31"), Version("v2")],
    ),
    journeys=[film],
    services=[
        Service("catalog", "catalog:app", expose=["/films"]),
        Service("members", "members:app", expose=["/members"]),
        Service("plain", "plain:app", expose=["/plain"]),
        Service("broken", "broken:app", expose=["/broken"]),
    ],
    zones=["a"],
)
"""
JOURNEYS = """
from tierline import Journey

film = Journey("film", "/film/{film_id}")

@film.part
async def details(film_id: int) -> dict:
    return {"id": film_id}
"""
CATALOG = """
from fastapi import FastAPI
from pydantic import BaseModel

print("said while it is imported")

class Film(BaseModel):
    id: int
    title: str | None
    sequels: list["Film"] = []

app = FastAPI()

@app.get("/films/{film_id}")
async def film(film_id: int, full: bool = False) -> Film: ...

@app.post("/films")
async def add(film: Film) -> Film: ...

@app.get("/internal")
async def internal() -> dict: ...
"""
MEMBERS = """
from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

class Film(BaseModel):
    watched: bool

app = FastAPI()

@app.get("/members/films", dependencies=[Security(HTTPBearer())])
async def film() -> list[Film]: ...
"""
PLAIN = "async def app(scope, receive, send): ..."
BROKEN = "raise RuntimeError('no database here')"


def made(bench: Callable[..., Bench]) -> tuple[dict[str, Any], str]:
    line = bench(STACK, journeys=JOURNEYS, catalog=CATALOG, members=MEMBERS, plain=PLAIN, broken=BROKEN)
    done = line.run("openapi")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_everything_that_is_exposed_is_in_one_valid_document(bench: Callable[..., Bench]) -> None:
    found, told = made(bench)
    OpenAPIV31SpecValidator(found).validate()
    paths = found["paths"]
    assert found["openapi"].startswith("3.1") and found["info"] == {"title": "films", "version": "v2"}

    # A service's own words, by the paths it is called from outside.
    film = paths["/films/{film_id}"]["get"]
    assert {each["name"] for each in film["parameters"]} == {"film_id", "full"}
    catalogue = paths["/catalogue/{film_id}"]["get"]
    said = catalogue["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "sequels" in found["components"]["schemas"][said]["properties"]
    assert paths["/films"]["post"]["requestBody"]
    assert paths["/catalogue/{film_id}"]["get"]["parameters"] == film["parameters"]
    assert "/internal" not in paths

    # Two services' models of one name stay two models; references lead to the right one.
    schemas = found["components"]["schemas"]
    mine = paths["/members/films"]["get"]["responses"]["200"]["content"]["application/json"]["schema"][
        "items"
    ]
    assert set(schemas[mine["$ref"].rpartition("/")[2]]["properties"]) == {"watched"}

    # Journeys, and what the gateway adds.
    assert paths["/film/{film_id}"]["get"]["security"] == [{"token": []}]
    assert paths["/members/films"]["get"]["security"] == [{"token": []}]
    assert "security" not in film
    assert paths["/v1/films/{film_id}"]["get"]["deprecated"]
    assert paths["/v1/film/{film_id}"]["get"]["security"] == [{"token": []}]

    # Bodies that the gateway shapes are described as they are outside.
    shaped = film["responses"]["200"]["content"]["application/json"]["schema"]
    assert shaped["properties"] == {"film": {}, "v": {"const": 2}}
    taken = paths["/plain/{id}/x"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert list(taken["properties"]) == ["rating"]

    # Who says nothing is described by the routes; who can't be asked, too, and it is told.
    assert set(paths["/plain/{below}"]) == {"get", "post", "put", "patch", "delete"}
    assert "/broken" in paths
    assert "broken could not be asked" in told and "no database here" in told


def test_it_can_be_written_to_a_file(bench: Callable[..., Bench], tmp_path: Path) -> None:
    line = bench(STACK, journeys=JOURNEYS, catalog=PLAIN, members=PLAIN, plain=PLAIN, broken=PLAIN)
    path = tmp_path / "api.json"
    assert line.run("openapi", "--output", str(path)).returncode == 0
    OpenAPIV31SpecValidator(json.loads(path.read_text())).validate()


def test_a_stack_without_a_gateway_is_told_what_to_use(bench: Callable[..., Bench]) -> None:
    line = bench('from tierline import Stack\nstack = Stack("bare")\n')
    done = line.run("openapi")
    assert done.returncode == 2 and "tierline journeys --openapi" in done.stderr


def test_the_cinemas_document_is_valid() -> None:
    done = run("openapi", str(Path(__file__).parents[2] / "examples" / "cinema"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    OpenAPIV31SpecValidator(found).validate()
    assert found["paths"]["/checkout"]["post"]["security"] == [{"token": []}]
    assert "429" in found["paths"]["/film/{film_id}"]["get"]["responses"]
