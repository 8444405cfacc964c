"""The JSON Schemas of what journeys take and answer, from the annotations of their parts and views."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tierline.errors import StackError, choices
from tierline.journeys.degraded import Degraded
from tierline.journeys.inputs import NOTHING, schema_hook
from tierline.journeys.journey import Journey
from tierline.journeys.routes import VIEWERS
from tierline.journeys.schedule import Input, Shape

Schema = dict[str, Any]
TEMPLATE = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Seen:
    """One way in which a kind of client is answered. since: the first app version that is; schema: its name, for JSON."""

    client: str
    since: str
    media: str
    schema: str = ""


@dataclass(frozen=True, slots=True)
class Described:
    """A journey with the names of the schemas of its answers."""

    shape: Shape
    answers: dict[str, str]
    """By kind of client: the name of its JSON answer's schema."""
    pages: tuple[str, ...]
    """Kinds of clients that get text/html too."""
    parts: dict[str, Schema]
    inputs: tuple[Input, ...]
    body: Schema | None
    views: tuple[Seen, ...] = ()
    older: dict[str, Schema] = field(default_factory=dict)
    """The schemas of views that only older app versions get, by name."""

    @property
    def journey(self) -> Journey:
        return self.shape.journey


def pascal(name: str) -> str:
    """`my-film` as `MyFilm`."""
    return "".join(piece.capitalize() for piece in name.replace("-", "_").split("_"))


def describe(
    journeys: Iterable[Journey], kinds: Iterable[str] = VIEWERS
) -> tuple[list[Described], dict[str, Schema]]:
    """Every journey described, and the schemas that the descriptions refer to, by name."""
    shapes = [journey.shape() for journey in journeys]
    types: list[Any] = [Degraded]
    for shape in shapes:
        types += [function.returns for function in shape.functions.values()]
        types += [function.returns for _, function in shape.views]
        types += [found.type for found in shape.inputs.values() if found.source != "service"]
    known: dict[int, Schema] = {}
    components: dict[str, Schema] = {}
    usable = [kind for kind in types if _describable(kind)]
    found, components = msgspec.json.schema_components(
        [Any if kind is None else kind for kind in usable], schema_hook=schema_hook, ref_template=TEMPLATE
    )
    for kind, schema in zip(usable, found, strict=True):
        known[id(kind)] = schema

    def schema_of(kind: Any) -> Schema:
        return dict(known.get(id(kind), {}))

    described = []
    for shape in shapes:
        journey = shape.journey
        parts = {name: schema_of(shape.functions[name].returns) for name in shape.default_parts()}
        for name, schema in parts.items():
            if journey.parts[name].policy.fallback is None and schema:
                parts[name] = _or_null(schema)
        standard = _free(f"{pascal(journey.name)}Answer", components)
        components[standard] = {
            "title": standard,
            "type": "object",
            "properties": {**parts, "degraded": degraded_schema(components)},
            "required": [name for name in parts if name not in shape.absent],
        }
        answers: dict[str, str] = {}
        pages: list[str] = []
        seen: list[Seen] = []
        older: dict[str, Schema] = {}
        for kind_name in dict.fromkeys([*kinds, *(view.kind for view in journey.views)]):
            answers[kind_name] = standard
            views = [(v, f) for v, f in shape.views if v.kind == kind_name]
            if any(view.media == "text/html" for view, _ in views):
                pages.append(kind_name)
            shown = [(v, f) for v, f in views if v.media == "application/json"]
            if shown:
                _, function = max(shown, key=lambda pair: pair[0].since)
                name = _free(f"{pascal(journey.name)}{pascal(kind_name)}Answer", components)
                components[name] = _view_schema(
                    name, schema_of(function.returns), degraded_schema(components)
                )
                answers[kind_name] = name
            for view, function in sorted(views, key=lambda pair: pair[0].since):
                since = ".".join(map(str, view.since))
                shape_of = ""
                if view.media == "application/json":
                    shape_of = answers[kind_name]
                    if view is not max(shown, key=lambda pair: pair[0].since)[0]:
                        shape_of = f"{shape_of}Since{since.replace('.', '_') or '0'}"
                        older[shape_of] = _view_schema(
                            shape_of, schema_of(function.returns), degraded_schema(components)
                        )
                seen.append(Seen(kind_name, since, view.media, shape_of))
            if not any(not view.since for view, _ in shown):
                seen.append(Seen(kind_name, "", "application/json", standard))
        inputs = (
            *(i for i in shape.inputs.values() if i.source in ("path", "query")),
            *(
                each.asked()
                for name, each in shape.journey.dimensions.items()
                if each.query and name in shape.inputs
            ),
        )
        body = shape.inputs.get("body")
        described.append(
            Described(
                shape,
                answers,
                tuple(pages),
                parts,
                inputs,
                schema_of(body.type) if body else None,
                tuple(seen),
                older,
            )
        )
    return described, components


def degraded_schema(components: dict[str, Schema]) -> Schema:
    """The schema of `degraded`."""
    return {
        "type": "array",
        "items": {"$ref": TEMPLATE.format(name=entry_name(components))},
        "description": "Parts that failed and are shown by their fallback, and those of which an old copy is shown; missing "
        "when there are none.",
    }


def entry_name(components: Iterable[str]) -> str:
    """What the schema of `Degraded` is called: by its whole name where a type of the user has the short one."""
    return next(name for name in (f"{Degraded.__module__}.Degraded", "Degraded") if name in components)


def _describable(kind: Any) -> bool:
    if kind is None:
        return True
    try:
        msgspec.json.schema(kind, schema_hook=schema_hook)
    except Exception:
        return False
    return True


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, or one like it that no type of the user has."""
    while name in taken:
        name += "_"
    return name


def _or_null(schema: Schema) -> Schema:
    if {"type": "null"} in schema.get("anyOf", ()):
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


def _view_schema(name: str, schema: Schema, degraded: Schema) -> Schema:
    """A view's schema under its own name, with the word about what is missing."""
    if not schema:
        return {"title": name, "description": "Annotate the view's return value to describe it."}
    if schema.get("type") == "object" and not schema.get("properties"):
        return {"title": name, **schema, "properties": {"degraded": degraded}}
    if schema.get("type") == "object" or "$ref" in schema:
        return {"title": name, "allOf": [schema], "properties": {"degraded": degraded}}
    return {"title": name, **schema}


def input_schema(described: Described, found: Input) -> Schema:
    """The schema of a path or query value."""
    try:
        schemas, _ = msgspec.json.schema_components(
            [found.type], schema_hook=schema_hook, ref_template=TEMPLATE
        )
        schema = dict(schemas[0])
    except Exception:
        schema = {}
    if found.default is not NOTHING and found.default is not None:
        schema["default"] = msgspec.to_builtins(found.default, enc_hook=str)
    return schema


def json_schema(journey: Journey, client: str = "web") -> Schema:
    """The JSON Schema (2020-12) of what a kind of client is answered."""
    (described,), components = describe([journey])
    if client not in described.answers:
        known = choices(described.answers)
        raise StackError(f"journey {journey.name!r} knows no client {client!r}; there are: {known}")
    schemas = {name: _moved(schema) for name, schema in components.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": f"#/$defs/{described.answers[client]}",
        "$defs": schemas,
    }


def _moved(schema: Any) -> Any:
    """References as they are in a document of its own."""
    if isinstance(schema, dict):
        return {
            key: value.replace("#/components/schemas/", "#/$defs/") if key == "$ref" else _moved(value)
            for key, value in schema.items()
        }
    return [_moved(item) for item in schema] if isinstance(schema, list) else schema
