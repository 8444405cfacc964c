"""What is generated from the journeys' definitions, checked by the tools that it is for."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from catalogue import JOURNEYS, film
from serving import granian

from tierline.journeys import Journey
from tierline.journeys.openapi import openapi
from tierline.journeys.pyclient import python
from tierline.journeys.schemas import json_schema
from tierline.journeys.typescript import declarations, javascript, typescript

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with granian("served_catalogue:app") as address:
        yield f"http://{address}"


def references(document: Any) -> set[str]:
    if isinstance(document, dict):
        own = {document["$ref"]} if "$ref" in document else set()
        return own.union(*(references(value) for value in document.values()))
    return set().union(*(references(value) for value in document)) if isinstance(document, list) else set()


def test_the_openapi_document_tells_inputs_answers_and_problems() -> None:
    document = openapi(JOURNEYS, title="Cinema", version="2", servers=["https://cinema.test"])
    assert document["openapi"] == "3.1.0"
    get = document["paths"]["/film/{film_id}"]["get"]
    by_name = {parameter["name"]: parameter for parameter in get["parameters"]}
    assert by_name["film_id"] == {
        "name": "film_id",
        "in": "path",
        "required": True,
        "schema": {"type": "integer"},
    }
    assert by_name["most"]["schema"] == {"type": "integer", "default": 5}
    assert "x-affiliate" in by_name
    assert set(get["responses"]["200"]["content"]) >= {"application/json", "text/html", "text/event-stream"}
    assert get["x-tierline-answers"]["mobile"] == "#/components/schemas/FilmMobileAnswer"
    sort = document["paths"]["/search"]["get"]["parameters"][1]
    assert sort["schema"] == {"enum": ["title", "year"], "default": "title"}
    order = document["components"]["schemas"]["Order"]
    assert order["properties"]["seats"] == {"type": "integer", "minimum": 1, "maximum": 10}
    assert document["components"]["schemas"]["FilmAnswer"]["properties"]["rating"] == {
        "anyOf": [{"type": "number"}, {"type": "null"}]
    }
    degraded = document["components"]["schemas"]["FilmAnswer"]["properties"]["degraded"]
    assert degraded["items"] == {"$ref": "#/components/schemas/Degraded"}
    told = document["components"]["schemas"]["Degraded"]
    assert set(told["required"]) == {"part", "fields", "why", "retryable", "stale"}
    for reference in references(document):
        found = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    assert json.loads(json.dumps(document)) == document


class Problem(TypedDict):
    """A diagnosis."""

    organ: str


def test_a_users_type_named_problem_keeps_its_schema() -> None:
    visit = Journey("visit", "/visit")

    @visit.part
    async def found() -> Problem:
        return {"organ": "ear"}

    document = openapi([visit])
    schemas = document["components"]["schemas"]
    assert schemas["Problem"]["properties"] == {"organ": {"type": "string"}}
    told = document["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"]
    own = schemas[told["$ref"].rpartition("/")[2]]["properties"]
    assert own["degraded"]["items"] == {"$ref": "#/components/schemas/Degraded"} and "go_to" in own
    names = {f"#/components/schemas/{name}" for name in schemas}
    assert {each for each in references(document) if "/schemas/" in each} <= names


def test_a_json_schema_per_client_stands_alone() -> None:
    schema = json_schema(film, "mobile")
    assert schema["$ref"] == "#/$defs/FilmMobileAnswer"
    assert all(reference.removeprefix("#/$defs/") in schema["$defs"] for reference in references(schema))


USES = """
import { Journeys, JourneyProblem } from "./client";

async function main(): Promise<void> {
  const base = process.argv[2];
  const web = new Journeys("web", { base });
  const page = await web.film({ film_id: 7, most: 1 });
  const title: string = page.details.title;
  const rating: number | null = page.rating;
  const mobile = new Journeys("mobile", { base });
  const card: { id: number; title: string } = await mobile.film({ film_id: 7 });
  const receipt = await mobile.checkout({ body: { film_id: 7, seats: 2 } });
  const found = await web.search({ q: "sun", sort: "year", genre: ["drama", "comedy"] });
  let problem = "";
  try {
    await web.film({ film_id: 404 });
  } catch (error) {
    if (error instanceof JourneyProblem) problem = `${error.problem.status} ${error.problem.part}`;
  }
  const old: number[] = (page.degraded || []).filter((one) => one.stale && !one.retryable).map((one) => one.age || 0);
  const parts: string[] = old.map(String);
  for await (const event of web.filmStream({ film_id: 7 })) {
    if (event.event === "part") {
      parts.push(event.part);
      if (event.part === "details") parts.push(event.value.title);
      for (const one of event.degraded || []) parts.push(...one.fields, one.why);
    }
  }
  const only = await web.film({ film_id: 7 }, { fields: ["details.title"] });
  const items = found.found.items.length;
  console.log(JSON.stringify({ title, rating, card, receipt, items, problem, parts, only }));
}

main();
"""

WRONG = {
    "an unknown field": "mobileCard.rating",
    "an unknown input": 'web.film({ film_id: 7, colour: "red" })',
    "a missing input": "web.film({})",
    "a wrong choice": 'web.search({ q: "x", sort: "price" })',
    "a wrong body": "web.checkout({ body: { film_id: 7 } })",
}


def test_the_typescript_client_compiles_and_works(tmp_path: Path, server: str) -> None:
    (tmp_path / "client.ts").write_text(typescript(JOURNEYS))
    declare = "declare const process: { argv: string[] };\n"
    (tmp_path / "uses.ts").write_text(declare + USES)
    wrong = [
        'import { Journeys } from "./client";',
        'const web = new Journeys("web");',
        "export async function main(): Promise<void> {",
        'const mobileCard = await new Journeys("mobile").film({ film_id: 7 });',
    ]
    first = len(wrong) + 1
    wrong += [f"{line}; // {why}" for why, line in WRONG.items()]
    (tmp_path / "wrong.ts").write_text("\n".join([*wrong, "}"]))
    lib = ["--target", "es2020", "--lib", "es2020,dom", "--module", "commonjs", "--strict"]
    compiled = subprocess.run(
        ["tsc", *lib, "uses.ts", "wrong.ts"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    refused = [line for line in compiled.stdout.splitlines() if "error" in line]
    assert all(line.startswith("wrong.ts(") for line in refused), compiled.stdout
    lines = {int(line.split("(")[1].split(",")[0]) for line in refused}
    assert lines == set(range(first, first + len(WRONG))), compiled.stdout
    ran = subprocess.run(
        ["node", "uses.js", server], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True
    )
    told = json.loads(ran.stdout)
    assert told["title"] == "Sunrise"
    assert told["card"] == {"id": 7, "title": "Sunrise"}
    assert told["receipt"] == {"receipt": {"film": 7, "price": 20}}
    assert told["problem"] == "404 details"
    assert sorted(told["parts"]) == ["Sunrise", "details", "rating", "similar"]
    assert told["only"] == {"details": {"title": "Sunrise"}}


def normal(folder: Path, file: str) -> str:
    """A module as the compiler prints it: no types, no comments, one form."""
    flags = "--allowJs --target es2022 --lib es2022,dom --module es2022 --removeComments --outDir out"
    argv = ["tsc", *flags.split(), "--useDefineForClassFields", "false", file]
    subprocess.run(argv, cwd=folder, capture_output=True, check=True, timeout=100)
    return (folder / "out" / file).with_suffix(".js").read_text()


def test_the_module_that_browsers_load_is_the_typescript_client_without_its_types(tmp_path: Path) -> None:
    for folder, file, text in (
        ("ts", "client.ts", typescript(JOURNEYS)),
        ("js", "client.js", javascript(JOURNEYS)),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    assert normal(tmp_path / "ts", "client.ts") == normal(tmp_path / "js", "client.js")
    assert "«" not in typescript(JOURNEYS) + javascript(JOURNEYS) + declarations(JOURNEYS)


def test_the_module_that_browsers_load_is_typed_and_works(tmp_path: Path, server: str) -> None:
    (tmp_path / "client.js").write_text(javascript(JOURNEYS))
    (tmp_path / "client.d.ts").write_text(declarations(JOURNEYS))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    declare = "declare const process: { argv: string[] };\n"
    wrong = 'web.search({ q: "x", sort: "price" })'
    (tmp_path / "uses.ts").write_text(declare + USES.replace("./client", "./client.js"))
    (tmp_path / "wrong.ts").write_text(
        f'import {{ Journeys }} from "./client.js";\nconst web = new Journeys("web");\n{wrong};'
    )
    lib = "--target es2022 --lib es2022,dom --module es2022 --moduleResolution node --strict"
    compiled = subprocess.run(
        ["tsc", *lib.split(), "uses.ts", "wrong.ts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    (refused,) = [line for line in compiled.stdout.splitlines() if "error" in line]
    assert refused.startswith("wrong.ts(3,"), compiled.stdout
    ran = subprocess.run(
        ["node", "uses.js", server], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True
    )
    told = json.loads(ran.stdout)
    assert told["title"] == "Sunrise" and told["problem"] == "404 details"
    assert sorted(told["parts"]) == ["Sunrise", "details", "rating", "similar"]


STACK = """
import sys
sys.path.insert(0, {here!r})
from catalogue import JOURNEYS
from tierline import Affiliate, Mobile, Stack, Web
stack = Stack("shop", clients=[Web(), Mobile(), Affiliate()], journeys=JOURNEYS)
"""


def tierline(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tierline", *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "language, files", [("typescript", ["c.ts"]), ("javascript", ["c.js", "c.d.ts"]), ("python", ["c.py"])]
)
def test_the_command_writes_a_client_and_tells_when_it_is_out_of_date(
    tmp_path: Path, language: str, files: list[str]
) -> None:
    (tmp_path / "stack.py").write_text(STACK.format(here=str(HERE)))
    where = ("--output", files[0])
    assert tierline(tmp_path, "client", language, *where).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("c.*")) == sorted(files)
    assert tierline(tmp_path, "client", language, *where, "--check").returncode == 0
    printed = tierline(tmp_path, "client", language)
    assert printed.stdout == (tmp_path / files[0]).read_text()
    last = tmp_path / files[-1]
    last.write_text(last.read_text() + "// by hand\n")
    told = tierline(tmp_path, "client", language, *where, "--check")
    assert told.returncode == 2
    assert (
        f"{files[-1]} is not what the journeys say; make it again: tierline client {language}" in told.stderr
    )


def test_the_commands_print_the_document_and_the_schemas(tmp_path: Path) -> None:
    (tmp_path / "stack.py").write_text(STACK.format(here=str(HERE)))
    assert json.loads(tierline(tmp_path, "journeys", "--openapi").stdout)["openapi"] == "3.1.0"
    schema = json.loads(tierline(tmp_path, "journeys", "--schema", "film", "--as", "mobile").stdout)
    assert schema["$ref"] == "#/$defs/FilmMobileAnswer"
    listed = tierline(tmp_path, "journeys").stdout.splitlines()
    assert listed[0].split() == ["film", "GET", "/film/{film_id}", "details,", "similar,", "rating"]
    assert "did you mean 'film'" in tierline(tmp_path, "journeys", "--schema", "flim").stderr
    assert "knows no client 'tv'" in tierline(tmp_path, "journeys", "--schema", "film", "--as", "tv").stderr
    explained = tierline(tmp_path, "journey", "film", "--explain").stdout
    assert "level 2" in explained and "view" in explained
    assert tierline(tmp_path, "journey", "film", "--svg").stdout.startswith("<svg")


def load(source: str, file: Path) -> Any:
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("generated_client", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["generated_client"] = module
    spec.loader.exec_module(module)
    return module


def test_the_python_client_works(tmp_path: Path, server: str) -> None:
    import asyncio

    client = load(python(JOURNEYS), tmp_path / "client.py")

    async def main() -> None:
        web = client.WebJourneys(server)
        page = await web.film(film_id=7, most=1)
        assert page["details"]["title"] == "Sunrise"
        mobile = client.MobileJourneys(server)
        assert await mobile.film(film_id=7) == {"id": 7, "title": "Sunrise"}
        partner = client.AffiliateJourneys(server, x_affiliate="acme")
        assert (await partner.film(film_id=7))["by"] == "acme"
        assert (await web.checkout(body={"film_id": 7, "seats": 2}))["receipt"]["price"] == 20
        with pytest.raises(client.JourneyProblem) as lost:
            await web.film(film_id=404)
        assert (lost.value.status, lost.value.problem["part"]) == (404, "details")
        events = [event async for event in web.film_stream(film_id=7)]
        assert events[-1]["event"] == "end"
        for one in (web, mobile, partner):
            await one.close()

    asyncio.run(main())


def test_the_python_client_is_strictly_typed(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(python(JOURNEYS))
    (tmp_path / "uses.py").write_text(
        "from client import MobileJourneys, WebJourneys\n\n\n"
        "async def main() -> str:\n"
        "    page = await WebJourneys('x').film(film_id=7)\n"
        "    card = await MobileJourneys('x').film(film_id=7)\n"
        "    reveal_type(page['similar'])\n"
        "    for missing in page.get('degraded', []):\n"
        "        print(missing['part'].upper(), missing['fields'], missing['why'], missing['stale'])\n"
        "    card['nothing']\n"
        "    return card['title']\n"
    )
    cache = HERE.parents[1] / ".mypy_cache"
    argv = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "uses.py"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1 and 'no key "nothing"' in errors[0], done.stdout
    assert "TypedDict(client.Film, {" in done.stdout.replace("'", "")


def test_long_names_and_paths_have_columns_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "stack.py").write_text(
        "from tierline import Stack\n"
        "from tierline.journeys import Journey\n"
        'long = Journey("a-name-that-is-rather-long", "/doctors/{doctor_id}/reviews/{n}", methods=["POST", "DELETE"])\n'
        'short = Journey("short", "/short")\n'
        "for each in (long, short):\n"
        '    each.part(name="one")(lambda: 1)\n'
        'stack = Stack("s", journeys=[long, short])\n'
    )
    first, second = tierline(tmp_path, "journeys").stdout.splitlines()
    path = "/doctors/{doctor_id}/reviews/{n}"
    assert first.split() == ["a-name-that-is-rather-long", "POST,", "DELETE", path, "one"]
    assert second.index("one") == first.index("one")
