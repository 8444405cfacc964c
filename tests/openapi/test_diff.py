"""What breaks an app version that is in use, and what doesn't: pairs of contracts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tierline.errors import RunError
from tierline.openapi.diff import changes

HERE = Path(__file__).parent
TEXT: dict[str, Any] = {"type": "string"}
WHOLE: dict[str, Any] = {"type": "integer"}


def document(operation: dict[str, Any], **components: Any) -> dict[str, Any]:
    operation.setdefault("responses", {"200": {"description": "it"}})
    return {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/film/{id}": {"post": operation}},
        "components": {"schemas": components},
    }


def answering(schema: Any, **components: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return document({"responses": {"200": {"description": "it", "content": content}}}, **components)


def taking(schema: Any, **components: Any) -> dict[str, Any]:
    return document({"requestBody": {"content": {"application/json": {"schema": schema}}}}, **components)


def asking(**parameters: Any) -> dict[str, Any]:
    return document({"parameters": [{"name": n, "in": "query", **p} for n, p in parameters.items()]})


def thing(required: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields) if required is None else required,
    }


def either(*schemas: Any) -> dict[str, Any]:
    return {"anyOf": list(schemas)}


NULL = {"type": "null"}
CAT = thing(kind={"const": "cat"}, lives=WHOLE)
DOG = thing(kind={"const": "dog"}, name=TEXT)
A, B = {"enum": ["a"]}, {"enum": ["a", "b"]}

VALUES = [
    # what, the old schema, the new one, then what breaks in an answer and in an input
    ("the same", thing(a=TEXT), thing(a=TEXT), "", ""),
    ("a field more", thing(a=TEXT), thing(["a"], a=TEXT, b=TEXT), "", ""),
    ("a required field more", thing(a=TEXT), thing(a=TEXT, b=TEXT), "", "input-added b"),
    ("a required field with a default", thing(a=TEXT), thing(a=TEXT, b={**TEXT, "default": "x"}), "", ""),
    ("a field less", thing(a=TEXT, b=TEXT), thing(a=TEXT), "field-removed b", "input-removed b"),
    ("an optional field less", thing(["a"], a=TEXT, b=TEXT), thing(a=TEXT), "field-removed b", "input-removed b"),
    ("optional now", thing(a=TEXT), thing([], a=TEXT), "field-optional a", ""),
    ("required now", thing([], a=TEXT), thing(a=TEXT), "", "input-required a"),
    ("another type", thing(a=TEXT), thing(a=WHOLE), "type-changed a", "type-changed a"),
    ("null too", thing(a=TEXT), thing(a=either(TEXT, NULL)), "became-nullable a", ""),
    ("null too, by a list", thing(a=TEXT), thing(a={"type": ["string", "null"]}), "became-nullable a", ""),
    ("null too, as in 3.0", thing(a=TEXT), thing(a={**TEXT, "nullable": True}), "became-nullable a", ""),
    ("null no more", thing(a=either(TEXT, NULL)), thing(a=TEXT), "", "null-refused a"),
    ("one null for another", thing(a=either(TEXT, NULL)), thing(a={"type": ["null", "string"]}), "", ""),
    ("numbers for integers", WHOLE, {"type": "number"}, "type-widened ", ""),
    ("integers for numbers", {"type": "number"}, WHOLE, "", "type-narrowed "),
    ("something is excluded", TEXT, {**TEXT, "not": A}, "", "condition-added "),
    ("nothing is excluded any more", {**TEXT, "not": A}, TEXT, "condition-removed ", ""),
    ("something else is excluded", {**TEXT, "not": A}, {**TEXT, "not": B}, "condition-changed ", "condition-changed "),
    ("the same is excluded", {**TEXT, "not": A}, {**TEXT, "not": {"enum": ["a"]}}, "", ""),
    ("anything but", {}, {"not": NULL}, "", "condition-added "),
    ("a condition", thing(a=TEXT), {**thing(a=TEXT), "if": thing(a=A), "then": thing(b=TEXT)}, "",
     "condition-added ; condition-added "),
    ("another consequence", {**thing(a=TEXT), "if": thing(a=A), "then": thing(b=TEXT)},
     {**thing(a=TEXT), "if": thing(a=A), "then": thing(b=WHOLE)}, "condition-changed ", "condition-changed "),
    ("a field that another one needs", thing([], a=TEXT, b=TEXT),
     {**thing([], a=TEXT, b=TEXT), "dependentRequired": {"a": ["b"]}}, "", "condition-added "),
    ("fields by a pattern", {"type": "object", "patternProperties": {"^x": WHOLE}},
     {"type": "object", "patternProperties": {"^x": {"type": "number"}}}, "type-widened {/^x/}", ""),
    ("fields by a pattern no more", {"type": "object", "patternProperties": {"^x": WHOLE}}, {"type": "object"},
     "condition-removed {/^x/}", ""),
    ("fields by a new pattern", {"type": "object"}, {"type": "object", "patternProperties": {"^x": WHOLE}}, "",
     "condition-added {/^x/}"),
    ("another alternative", TEXT, either(TEXT, WHOLE), "type-widened ", ""),
    ("one alternative less", either(TEXT, WHOLE), TEXT, "", "type-narrowed "),
    ("another of oneOf", {"oneOf": [TEXT]}, {"oneOf": [TEXT, WHOLE]}, "type-widened ", ""),
    ("a tagged alternative more", either(CAT), either(CAT, DOG), "type-widened ", ""),
    ("a tagged alternative less", either(CAT, DOG), either(DOG), "", "type-narrowed "),
    ("tags in another order", either(CAT, DOG), either(DOG, CAT), "", ""),
    ("a value more", A, B, "enum-grew ", ""),
    ("a value less", B, A, "", "enum-shrank "),
    ("any text for values", A, TEXT, "enum-grew ", ""),
    ("a literal for values of an enum", {"type": "string", "enum": ["a"]}, {"const": "a"}, "", ""),
    ("anything now", TEXT, {}, "type-widened ", ""),
    ("something now", {}, TEXT, "", "type-narrowed "),
    ("a higher most", {**WHOLE, "maximum": 5}, {**WHOLE, "maximum": 9}, "limit-loosened ", ""),
    ("a lower most", {**WHOLE, "maximum": 9}, {**WHOLE, "maximum": 5}, "", "limit-tightened "),
    ("a higher least", {**WHOLE, "minimum": 0}, {**WHOLE, "minimum": 1}, "", "limit-tightened "),
    ("no limit any more", {**TEXT, "maxLength": 5}, TEXT, "limit-loosened ", ""),
    ("another format", {**TEXT, "format": "date"}, {**TEXT, "format": "date-time"}, "limit-loosened ", "limit-tightened "),
    ("deep in lists", {"type": "array", "items": thing(a=TEXT)}, {"type": "array", "items": thing(a=WHOLE)},
     "type-changed [].a", "type-changed [].a"),
    ("a tuple's second", {"type": "array", "prefixItems": [TEXT, TEXT]}, {"type": "array", "prefixItems": [TEXT, WHOLE]},
     "type-changed [1]", "type-changed [1]"),
    ("values of a mapping", {"type": "object", "additionalProperties": TEXT},
     {"type": "object", "additionalProperties": WHOLE}, "type-changed {}", "type-changed {}"),
    ("other fields refused", thing(a=TEXT), {**thing(a=TEXT), "additionalProperties": False}, "", "fields-refused "),
    ("descriptions", thing(a={**TEXT, "description": "x", "title": "y"}), thing(a={**TEXT, "description": "z"}), "", ""),
    ("all of two for one", thing(a=TEXT, b=TEXT), {"allOf": [thing(a=TEXT), thing(b=TEXT)]}, "", ""),
    ("less of all of two", {"allOf": [thing(a=TEXT)], "properties": {"b": TEXT}}, thing(b=TEXT),
     "field-removed a", "input-required b; input-removed a"),
    ("a schema that is false", TEXT, False, "", "type-narrowed "),
]  # fmt: skip


def broken(old: Any, new: Any) -> str:
    return "; ".join(f"{each.rule} {each.field}" for each in changes(old, new) if each.breaking)


@pytest.mark.parametrize("what, old, new, in_answer, in_input", VALUES, ids=[each[0] for each in VALUES])
def test_answers_may_only_get_narrower_and_inputs_only_wider(
    what: str, old: Any, new: Any, in_answer: str, in_input: str
) -> None:
    assert broken(answering(old), answering(new)) == in_answer
    assert broken(taking(old), taking(new)) == in_input
    # The same difference the other way round is told too, never nothing for one and something for the other.
    assert bool(changes(answering(old), answering(new))) is bool(changes(answering(new), answering(old)))


HEADER = {"name": "X-New", "in": "header", "schema": TEXT}

OPERATIONS: list[tuple[str, Any, Any, str]] = [
    ("a query value more", asking(), asking(q={"schema": TEXT}), ""),
    ("a required one more", asking(), asking(q={"schema": TEXT, "required": True}), "input-added query q"),
    ("one less", asking(q={"schema": TEXT}), asking(), "input-removed query q"),
    ("a required header", document({}), document({"parameters": [{**HEADER, "required": True}]}),
     "input-added header X-New"),
    ("a header", document({}), document({"parameters": [HEADER]}), ""),
    ("a header that is required now", document({"parameters": [HEADER]}),
     document({"parameters": [{**HEADER, "required": True}]}), "input-required header X-New"),
    ("required now", asking(q={}), asking(q={"required": True}), "input-required query q"),
    ("another default", asking(q={"schema": {**WHOLE, "default": 1}}), asking(q={"schema": {**WHOLE, "default": 2}}), ""),
    ("a value less", asking(q={"schema": B}), asking(q={"schema": A}), "enum-shrank query q"),
    ("no body any more", taking(TEXT), document({}), "body-removed body"),
    ("a body that has to be sent", document({}), document({"requestBody": {"required": True}}), "body-required body"),
    ("another media type", answering(TEXT), document({"responses": {"200": {"content": {"text/html": {}}}}}),
     "media-removed answer"),
    ("another status", document({"responses": {"200": {}}}), document({"responses": {"201": {}}}), "status-removed status"),
    ("a status more", document({"responses": {"200": {}}}), document({"responses": {"200": {}, "404": {}}}), ""),
    ("a header less", document({"responses": {"200": {"headers": {"ETag": {}}}}}), document({}),
     "header-removed answer header etag"),
    ("signing in", document({}), document({"security": [{"bearer": []}]}), "security-added security"),
    ("another scope", document({"security": [{"bearer": ["a"]}]}), document({"security": [{"bearer": ["a", "b"]}]}),
     "security-added security"),
    ("one way to sign in less", document({"security": [{"bearer": []}, {"key": []}]}),
     document({"security": [{"bearer": []}]}), "security-removed security"),
    ("one way more", document({"security": [{"bearer": []}]}), document({"security": [{"bearer": []}, {"key": []}]}), ""),
    ("signing in no more", document({"security": [{"bearer": []}]}), document({}), ""),
    ("another step first", document({}), document({"x-tierline-after": ["/cart"]}), "step-required step"),
    ("another claim", document({}), document({"x-tierline-claims": {"role": "admin"}}), "security-added claims"),
]  # fmt: skip


@pytest.mark.parametrize("what, old, new, expected", OPERATIONS, ids=[each[0] for each in OPERATIONS])
def test_what_else_an_operation_promises(what: str, old: Any, new: Any, expected: str) -> None:
    found = changes(old, new)
    assert "; ".join(f"{each.rule} {each.where}" for each in found if each.breaking) == expected
    assert found, "what is compatible is told too"
    assert all(each.why and (each.next or not each.breaking) for each in found if each.breaking)


def test_a_path_is_the_same_whatever_its_values_are_called() -> None:
    old, new = document({}), document({})
    new["paths"] = {"/film/{film_id}": new["paths"]["/film/{id}"]}
    assert changes(old, new) == []
    new["paths"] = {"/movie/{film_id}": {}}
    assert [each.rule for each in changes(old, new)] == ["path-removed", "path-added"]
    new["paths"] = {"/film/{id}": {"get": {}}}
    assert [each.rule for each in changes(old, new)] == ["method-removed", "method-added"]


def test_schemas_that_refer_to_themselves_are_compared_once() -> None:
    def tree(kind: Any) -> dict[str, Any]:
        ref = {"$ref": "#/components/schemas/Tree"}
        return answering(ref, Tree=thing(value=kind, below={"type": "array", "items": ref}))

    assert broken(tree(TEXT), tree(TEXT)) == ""
    assert broken(tree(TEXT), tree(WHOLE)) == "type-changed value"


def test_what_can_not_be_read_is_told_by_its_place() -> None:
    good = answering(TEXT)
    for bad, said in (
        (answering({"$ref": "#/components/schemas/None"}), "leads nowhere"),
        (answering({"$ref": "other.json#/A"}), "leads out of the document"),
        (answering({"$ref": "#/components/schemas/A"}, A={"$ref": "#/components/schemas/A"}), "leads to itself"),
        (answering({"$ref": "#/components/schemas/A"}, A={"anyOf": [{"$ref": "#/components/schemas/A"}]}), "without end"),
        ({**good, "paths": []}, "old.json/paths is list; allowed: an object"),
        ({**good, "paths": {"/film/{id}": {"post": 5}}}, "post is no object"),
        (answering(7), "7 is no schema"),
        (answering({"anyOf": 5}), "schema/anyOf is int; allowed: a list of schemas"),
        (answering({"properties": []}), "schema/properties is list; allowed: an object"),
        (answering({"enum": "a"}), "schema/enum is str; allowed: a list of values"),
        (document({"security": {"a": []}}), "post/security is dict; allowed: a list"),
        (document({"parameters": 5}), "post/parameters is int; allowed: a list"),
        (document({"x-tierline-after": "a"}), "x-tierline-after is str; allowed: a list of names"),
    ):  # fmt: skip
        with pytest.raises(RunError, match=r"old\.json") as told:
            changes(bad, good, "old.json")
        assert said in str(told.value)


STACK = """
from __future__ import annotations
from typing import Annotated, Literal, TypedDict
import msgspec
from tierline import Journey, Mobile, Stack, Web

class Film(msgspec.Struct, kw_only=True):
    id: int
    title: str
    state: Literal["new", "old"] = "new"
    {rating}

class Card(TypedDict):
    title: str

class Order(msgspec.Struct):
    seats: Annotated[int, msgspec.Meta(ge=1, le={most})]
    {note}

film = Journey("film", "/film/{{film_id}}")
order = Journey("order", "/order", methods=["POST"]{requires})

@film.part
def details(film_id: int, {q}) -> {film}:
    return Film(id=1, title="Sunrise", rating=8.5)

{views}

@order.effect
def placed(body: Order) -> dict[str, str]:
    return {{}}

stack = Stack("shop", clients=[{clients}], journeys=[film, order])
"""
OLD = {
    "rating": "rating: float",
    "most": 10,
    "note": "",
    "requires": "",
    "q": "most: int = 5",
    "film": "Film",
    "clients": "Web(), Mobile()",
    "views": '@film.view("mobile")\ndef card(details: Film) -> Card:\n    return {"title": details.title}\n',
}
NEW = {
    "rating": "rating: float | None = None\n    year: int = 0",
    "most": 8,
    "note": "note: str",
    "requires": ', requires="order:write"',
    "q": "most: int = 9",
    "film": "Film",
    "clients": "Web(), Mobile()",
    "views": OLD["views"]
    + '\n@film.view("mobile", since="3")\ndef rich(details: Film) -> Film:\n    return details\n',
}


def tierline(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tierline", *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_command_names_each_change_and_fails_when_one_breaks(
    tmp_path: Path, golden: Callable[[Path, str], None]
) -> None:
    stack = tmp_path / "stack.py"
    stack.write_text(STACK.format(**OLD))
    (tmp_path / "old.json").write_text(tierline(tmp_path, "journeys", "--openapi").stdout)
    same = tierline(tmp_path, "journeys", "--diff", "old.json")
    assert (same.returncode, same.stdout, same.stderr) == (0, "the same as old.json\n", "")
    stack.write_text(STACK.format(**NEW))
    told = tierline(tmp_path, "journeys", "--diff", "old.json")
    assert told.returncode == 1
    golden(HERE / "golden" / "diff.txt", told.stdout)
    data = json.loads(tierline(tmp_path, "journeys", "--diff", "old.json", "--json").stdout)
    assert data["breaking"] is True
    assert {"path", "method", "field", "before", "after", "why", "next", "rule"} <= data["changes"][0].keys()
    # A view with `since` is for the apps that it names; what the others get is what counts.
    stack.write_text(STACK.format(**{**OLD, "views": NEW["views"]}))
    fine = tierline(tmp_path, "journeys", "--diff", "old.json")
    assert fine.returncode == 0 and "compatible  GET /film/{film_id}: view (mobile since 3)" in fine.stdout
    stack.write_text(STACK.format(**{**OLD, "views": "", "clients": "Web()"}))
    gone = tierline(tmp_path, "journeys", "--diff", "old.json")
    assert gone.returncode == 1 and "client-removed" in gone.stdout


@pytest.mark.parametrize(
    "text, said",
    [("{", "is not JSON"), ("[]", "is no OpenAPI 3 document"), ('{"swagger": "2.0"}', "no OpenAPI 3")],
)
def test_a_file_that_is_no_contract_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "stack.py").write_text(STACK.format(**OLD))
    (tmp_path / "old.json").write_text(text)
    told = tierline(tmp_path, "journeys", "--diff", "old.json")
    assert told.returncode == 2 and said in told.stderr
    assert "tierline journeys --openapi > old.json" in told.stderr
    assert "No such file" in tierline(tmp_path, "journeys", "--diff", "nothing.json").stderr
    assert "--json needs --diff" in tierline(tmp_path, "journeys", "--json").stderr
