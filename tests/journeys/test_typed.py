"""Typed calls of a service: generated from its OpenAPI, held against it when it answers, and told when they are old."""

import asyncio
import datetime
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served_catalog import app as catalog_app
from serving import granian
from test_generated import load

from tierline.errors import RunError, StackError
from tierline.journeys import HTTP, Journey, build
from tierline.journeys.service_client import service_client
from tierline.journeys.testing import Outcome, ask

HERE = Path(__file__).parent
DOCUMENT = json.loads((HERE / "typed_catalog.json").read_text())
AGAIN = "tierline client python --of catalog --document typed_catalog.json --output catalog_client.py"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Any:
    text, _ = service_client(DOCUMENT, "catalog", made_by=AGAIN)
    return load(text, tmp_path_factory.mktemp("typed") / "catalog_client.py")


@pytest.fixture(scope="module", params=["in this process", "elsewhere"])
def service(request: pytest.FixtureRequest) -> Iterator[Callable[[], Any]]:
    if request.param == "elsewhere":
        with granian("served_catalog:app") as address:
            yield lambda: HTTP(address, name="catalog")
    else:
        yield lambda: catalog_app


def test_the_generated_module_is_the_same_for_the_same_document(golden: Callable[[Path, str], None]) -> None:
    text, notes = service_client(DOCUMENT, "catalog", made_by=AGAIN, source="typed_catalog.json")
    golden(HERE / "golden" / "catalog_client.py.txt", text)
    assert notes == [
        "getFilm: the cookie 'sid' is not sent",
        "Film_thing is one of Base, Rating, which can't be told apart when they are read: Any",
        "post_/films takes text/csv: give it bytes, and headers={'content-type': …}",
    ]


def test_parts_call_operations_with_types(generated: Any, service: Callable[[], Any]) -> None:
    screen = Journey("screen", "/screen", methods=["POST"])

    async def film(catalog: generated.Catalog) -> Any:
        return await catalog.get_film(7, lang="de & fr", x_tenant="t")

    async def listed(catalog: generated.Catalog) -> Any:
        found = await catalog.list_films(
            since=datetime.date(2026, 1, 2), ids=[1, 2], tag=["drama", "comedy"], new=True, headers_="h"
        )
        assert found.items[0].title == "Sunrise"
        return found

    async def changed(catalog: generated.Catalog) -> Any:
        assert await catalog.delete_(7) is None
        rated = await catalog.rate_film(7, body=generated.Rating(stars=4))
        text = await catalog.post_films(body=b"a;b", headers={"content-type": "text/csv"})
        return [rated, text.decode()]

    async def plain(catalog: Any) -> Any:
        return (await catalog.get("/films/{id}", id=7)).json()["title"]

    for part in (film, listed, changed, plain):
        screen.part(part)

    async def main() -> None:
        app = build([screen], services={"catalog": service()})
        await app.start()
        body = (await ask(app, "POST", "/screen", {}, None, Outcome())).body
        await app.stop()
        assert body["film"] == {
            "id": 7, "title": "Sunrise", "genres": ["drama"], "class": None, "datetime": "2026-12-01T10:00:00Z",
            "any": ["lang=de+&+fr", "t"],
        }  # fmt: skip
        assert body["listed"]["next"] == "ids=1,2&tag=drama&tag=comedy&new=true&since=2026-01-02&headers=h"
        assert body["changed"] == [{"average": 4.5, "you": 4.0}, "text/csv a;b"]
        assert body["plain"] == "Sunrise"

    asyncio.run(main())


BREAKS = [
    (10, "$.title"), (11, "$.genres[1]"), (12, ""), (13, "$.id"), (14, ""), (15, ""), (16, ""),
]  # fmt: skip


@pytest.mark.parametrize("number, field", BREAKS)
def test_a_service_that_breaks_its_own_document_is_told_and_leaks_nothing(
    generated: Any, service: Callable[[], Any], number: int, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    screen = Journey("screen", "/screen/{number}")

    async def film(number: int, catalog: generated.Catalog) -> generated.Film:
        return await catalog.get_film(number)

    screen.part(film)
    soft = Journey("soft", "/soft/{number}")
    soft.part(fallback=None, retries=2)(film)

    async def main() -> None:
        app = build([screen, soft], services={"catalog": service()})
        await app.start()
        refused = await ask(app, "GET", f"/screen/{number}", {}, None, Outcome())
        assert refused.status == 502
        problem = refused.problem
        assert problem["type"] == "urn:tierline:problem:broken-contract"
        assert (problem["part"], problem["service"], problem["operation"]) == ("film", "catalog", "getFilm")
        assert problem.get("field", "") == field
        assert problem["detail"].startswith("catalog: its answer to getFilm is not what its OpenAPI says")
        degraded = await ask(app, "GET", f"/soft/{number}", {}, None, Outcome())
        assert degraded.status == 200 and degraded.body["film"] is None
        (told,) = degraded.body["degraded"]
        assert (told["part"], told["why"], told["retryable"]) == ("film", "broken-contract", False)
        assert "secret-token" not in json.dumps([problem, degraded.body])
        await app.stop()

    asyncio.run(main())
    assert "getFilm" in caplog.text, "its owners read why in the log"


def test_what_the_document_calls_an_error_is_one_as_before(
    generated: Any, service: Callable[[], Any]
) -> None:
    screen = Journey("screen", "/screen")

    async def film(catalog: generated.Catalog) -> generated.Film:
        return await catalog.get_film(404)

    screen.part(film)

    async def main() -> None:
        app = build([screen], services={"catalog": service()})
        await app.start()
        assert (await ask(app, "GET", "/screen", {}, None, Outcome())).status == 404
        await app.stop()

    asyncio.run(main())


def test_fakes_stand_for_a_typed_service_and_are_held_against_its_document(generated: Any) -> None:
    screen = Journey("screen", "/screen")

    async def film(catalog: generated.Catalog) -> generated.Film:
        return await catalog.get_film(7)

    screen.part(film)
    good = {"id": 7, "title": "Sunrise", "genres": [], "class": "a"}
    outcome = asyncio.run(screen.call(fakes={"catalog": {"/films/7": good}}))
    assert outcome.status == 200 and outcome.body["film"]["class"] == "a"
    assert asyncio.run(screen.call(fakes={"catalog": {"/films/7": {"id": 7}}})).status == 502


def test_a_service_has_one_type_in_a_journey(generated: Any) -> None:
    other = load(
        service_client(DOCUMENT, "other", made_by="")[0], Path(generated.__file__).with_name("other.py")
    )
    screen = Journey("screen", "/screen")

    async def one(catalog: generated.Catalog) -> int:
        return 1

    async def two(catalog: other.Other) -> int:
        return 2

    screen.part(one)
    screen.part(two)
    with pytest.raises(
        StackError, match="part 'two' wants the service 'catalog' as Other, elsewhere it is Catalog"
    ):
        build([screen], services={"catalog": HTTP("127.0.0.1:1")})


STACK = """
from catalog_client import Catalog, Film
from tierline import Journey, Service, Stack

screen = Journey("screen", "/screen")

@screen.part
async def film(catalog: Catalog) -> Film:
    return await catalog.get_film(7)

stack = Stack("shop", journeys=[screen], services=[Service("catalog", "served:app")], zones=["a"])
"""
FASTAPI = """
from fastapi import FastAPI
from pydantic import BaseModel

class Film(BaseModel):
    id: int
    sequel: "Film | None" = None

app = FastAPI(title="Films", version="3")

@app.get("/films/{film_id}")
async def get_film(film_id: int, most: int = 3) -> Film:
    return Film(id=film_id)
"""


def tierline(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tierline", *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_command_and_the_plan_tell_when_the_client_is_old(tmp_path: Path) -> None:
    document = tmp_path / "typed_catalog.json"
    shutil.copy(HERE / "typed_catalog.json", document)
    words = AGAIN.split()[1:]
    made = tierline(tmp_path, *words)
    assert made.returncode == 0 and "the cookie 'sid' is not sent" in made.stderr
    (tmp_path / "stack.py").write_text(STACK)
    (tmp_path / "served.py").write_text("async def app(scope, receive, send): ...\n")
    assert tierline(tmp_path, *words, "--check").returncode == 0
    fresh = tierline(tmp_path, "plan")
    assert fresh.returncode == 0 and "make it again" not in fresh.stderr
    changed = json.loads(document.read_text())
    changed["components"]["schemas"]["Film"]["description"] = "Another."
    document.write_text(json.dumps(changed))
    told = tierline(tmp_path, "plan")
    assert told.returncode == 0
    assert (
        f"catalog_client.py is not what {tmp_path / 'typed_catalog.json'} says any more; make it again: {AGAIN}"
        in told.stderr
    )
    old = tierline(tmp_path, *words, "--check")
    assert old.returncode == 2
    assert f"catalog_client.py is not what the document of catalog says; make it again: {AGAIN}" in old.stderr
    uses = tmp_path / "uses.py"
    uses.write_text(
        "from catalog_client import Catalog\n\n\n"
        "async def use(catalog: Catalog) -> str:\n"
        "    film = await catalog.get_film(7, lang='de')\n"
        "    await catalog.get_film('7')\n"
        "    film.nothing\n"
        "    return film.title.upper()\n"
    )
    argv = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(HERE.parents[1] / ".mypy_cache")]
    done = subprocess.run(
        [*argv, "catalog_client.py", "uses.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    errors = [line.split(":")[:2] for line in done.stdout.splitlines() if ": error:" in line]
    assert errors == [["uses.py", "6"], ["uses.py", "7"]], done.stdout


def test_the_services_own_application_is_asked_for_its_document(tmp_path: Path) -> None:
    (tmp_path / "stack.py").write_text(
        'from tierline import Service, Stack\nstack = Stack("s", services=[Service("films", "served:app")])\n'
    )
    (tmp_path / "served.py").write_text(FASTAPI)
    made = tierline(tmp_path, "client", "python", "--of", "films", "-o", "films.py")
    assert made.returncode == 0, made.stderr
    module = load((tmp_path / "films.py").read_text(), tmp_path / "loaded.py")
    assert module.Films.get_film_films_film_id_get and module.Film
    for words, said in (
        (("--of", "film"), "did you mean 'films'"),
        (("--of", "films", "--document", "none.json"), "No such file"),
        (("--of", "films", "--document", "served.py"), "is not JSON"),
        (("--of", "films", "--document", "http://127.0.0.1:9/openapi.json"), "is the service up?"),
        (("--document", "x.json"), "--document needs --of"),
    ):
        told = tierline(tmp_path, "client", "python", *words)
        assert told.returncode == 2 and said in told.stderr, told.stderr


@pytest.mark.parametrize(
    "schema, said",
    [
        ({"$ref": "#/components/schemas/None"}, "leads nowhere"),
        ({"$ref": "other.json#/A"}, "can't be followed"),
        ({"$ref": "#/components/schemas/Loop"}, "can't be followed"),
        ({"$ref": "#/components/schemas/Deep"}, ""),
        ({"enum": ["a", None, 1]}, ""),
        ({"enum": [1.5, {"a": 1}]}, ""),
        ({"type": "object", "properties": {"import": {"type": "string"}, "1st": {}, "": {}, "__x__": {}, "A b": {}}}, ""),
        ({"title": 'x"""\nimport os', "description": '"""\\', "properties": {'a"b\n': {"type": "string"}}}, ""),
        ({"type": "string", "pattern": "(", "minLength": 1.0}, ""),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, ""),
        (True, ""),
    ],
)  # fmt: skip
def test_what_a_hostile_document_gets(tmp_path: Path, schema: Any, said: str) -> None:
    deep = {"anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/Deep"}}, {"type": "null"}]}
    document = {
        "openapi": "3.0.3",
        "info": {"title": 'x"""\n', "version": "1"},
        "paths": {
            "/a": {
                "get": {
                    "operationId": 'x"); import os; ("',
                    "summary": '"""; import os',
                    "responses": {"200": {"content": {"application/json": {"schema": schema}}}},
                }
            }
        },
        "components": {"schemas": {"Loop": {"$ref": "#/components/schemas/Loop"}, "Deep": deep}},
    }
    if said:
        with pytest.raises(RunError, match=said):
            service_client(document, "hostile", made_by='"""')
        return
    text, _ = service_client(document, "hostile", made_by='"""; import os')
    module = load(text, tmp_path / "hostile.py")
    assert "os" not in vars(module), "nothing of a document becomes code"
