"""An OpenAPI 3.1 document of the journeys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from tierline.journeys.inputs import NOTHING
from tierline.journeys.journey import Journey
from tierline.journeys.passage import Passage
from tierline.journeys.policy import MISSING
from tierline.journeys.routes import VIEWERS
from tierline.journeys.schemas import Described, Schema, degraded_schema, describe, input_schema
from tierline.journeys.stream import EVENTS, LINES

_SCHEMAS = "#/components/schemas/"
_HEADERS = {"affiliate": "x-affiliate", "version": "x-app-version", "locale": "accept-language"}
BEARER: Schema = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
PROBLEM: Schema = {
    "title": "Problem",
    "description": "RFC 9457; `part` names the part of the journey that failed.",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "journey": {"type": "string"},
        "part": {"type": "string"},
        "service": {"type": "string"},
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "effects": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What has been done already and stays, when a later part failed",
        },
        "go_to": {"type": "string", "description": "The path of the step that comes first (409)"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "in": {"type": "string"},
                    "field": {"type": "string"},
                    "given": {},
                    "why": {"type": "string"},
                },
                "required": ["in", "field", "why"],
            },
        },
    },
    "required": ["type", "title", "status"],
}


def openapi(
    journeys: Iterable[Journey],
    *,
    title: str = "Journeys",
    version: str = "1",
    servers: Iterable[str] = (),
    clients: Iterable[str] = VIEWERS,
    passages: Iterable[Passage] = (),
) -> dict[str, Any]:
    """The document as data."""
    kinds = tuple(clients)
    described, components = describe(journeys, kinds)
    paths: dict[str, Any] = {}
    for one in described:
        entry = paths.setdefault(one.journey.path, {})
        for method in one.journey.methods:
            entry[method.lower()] = _operation(one, method, kinds)
    for passage in passages:
        entry = paths.setdefault(passage.path, {})
        for method in passage.methods:
            entry.setdefault(method.lower(), _passed(passage, method))
    older = {name: schema for one in described for name, schema in one.older.items()}
    # A type of the user may have that name.
    problem = next(n for n in ("Problem", "tierline.Problem") if n not in {**components, **older})
    secured = any("security" in operation for entry in paths.values() for operation in entry.values())
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        **({"servers": [{"url": url} for url in servers]} if servers else {}),
        "paths": paths,
        "components": {
            "schemas": {**components, **older, problem: _problem(components)},
            **({"securitySchemes": {"bearer": BEARER}} if secured else {}),
            "responses": {
                "Problem": {
                    "description": "What went wrong",
                    "content": {"application/problem+json": {"schema": {"$ref": _SCHEMAS + problem}}},
                }
            },
        },
    }


def _problem(components: dict[str, Schema]) -> Schema:
    """The schema of a problem document, which has what parts lacked that something stood in for."""
    return {**PROBLEM, "properties": {**PROBLEM["properties"], "degraded": degraded_schema(components)}}


def document(journeys: Iterable[Journey], **words: Any) -> bytes:
    """The document as JSON."""
    return msgspec.json.format(msgspec.json.encode(openapi(journeys, **words)), indent=2)


def _operation(one: Described, method: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    journey = one.journey
    refs = [{"$ref": f"#/components/schemas/{name}"} for name in dict.fromkeys(one.answers.values())]
    content: dict[str, Any] = {"application/json": {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}}
    if one.pages:
        content["text/html"] = {"schema": {"type": "string"}}
    content[LINES] = content[EVENTS] = {"schema": {"type": "string", "description": "with ?stream"}}
    operation: dict[str, Any] = {
        "operationId": journey.name if len(journey.methods) == 1 else f"{journey.name}_{method.lower()}",
        "summary": journey.about or f"The journey {journey.name}",
        "parameters": _parameters(one, kinds),
        "responses": {
            "200": {
                "description": "The answer",
                "headers": {
                    "x-tierline-degraded": {
                        "description": "Parts that failed and are shown by their fallback, or whose old copy is shown",
                        "schema": {"type": "string"},
                    },
                    "etag": {"schema": {"type": "string"}},
                },
                "content": content,
            },
            "304": {"description": "Not changed since the given ETag"},
            "422": {"$ref": "#/components/responses/Problem"},
            "default": {"$ref": "#/components/responses/Problem"},
        },
        "x-tierline-answers": {kind: f"#/components/schemas/{name}" for kind, name in one.answers.items()},
        "x-tierline-views": [
            {
                "client": seen.client,
                "since": seen.since,
                "media": seen.media,
                **({"schema": {"$ref": _SCHEMAS + seen.schema}} if seen.schema else {}),
            }
            for seen in one.views
            if seen.client in kinds
        ],
        **_required(one),
    }
    if one.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": one.body}}}
    return operation


def _passed(passage: Passage, method: str) -> dict[str, Any]:
    """An operation of which the service alone knows what it answers."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    several = len(passage.methods) > 1
    operation: dict[str, Any] = {
        "operationId": f"{passage.name}_{method.lower()}" if several else passage.name,
        "summary": f"Streamed to and from the service {passage.to}",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", passage.path)
        ],
        "responses": {
            "200": {"description": "The service's answer", "content": {"*/*": binary}},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
    if method == "GET":
        operation["responses"]["206"] = {"description": "The range that was asked for"}
        operation["responses"]["304"] = {"description": "Not changed since the given ETag or date"}
    elif method != "DELETE":
        content = {media: binary for media in passage.media or ("*/*",)}
        operation["requestBody"] = {"required": True, "content": content}
    if passage.requires is not None:
        operation["security"] = [{"bearer": sorted(passage.requires.scopes)}]
        if passage.requires.claims:
            operation["x-tierline-claims"] = dict(passage.requires.claims)
    return operation


def _required(one: Described) -> dict[str, Any]:
    """What a caller needs: a token's scopes and claims, and the step that has to come first."""
    parts = one.journey.parts
    needed = [
        requires
        for name, requires in one.shape.requires.items()
        if not name or parts[name].policy.fallback is MISSING
    ]
    found: dict[str, Any] = {}
    if needed:
        found["security"] = [{"bearer": sorted(set().union(*(each.scopes for each in needed)))}]
    if claims := {name: value for each in needed for name, value in each.claims}:
        found["x-tierline-claims"] = claims
    if steps := [step.back for step in one.journey.steps if step.required]:
        found["x-tierline-after"] = steps
    return found


def _parameters(one: Described, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for value in one.inputs:
        required = value.source == "path" or value.default is NOTHING
        schema = input_schema(one, value)
        found.append({"name": value.name, "in": value.source, "required": required, "schema": schema})
    text = {"type": "string"}
    found.append({"name": "x-client", "in": "header", "required": False, "schema": {"enum": list(kinds)}})
    for name, header in (
        ("affiliate", "x-affiliate"),
        ("version", "x-app-version"),
        ("locale", "accept-language"),
    ):
        if name in one.shape.inputs and name not in one.journey.dimensions:
            found.append({"name": header, "in": "header", "required": False, "schema": text})
    if one.shape.effects:
        about = "The same key gets the same answer, and nothing is done twice; made up when it is missing"
        found.append(
            {
                "name": "idempotency-key",
                "in": "header",
                "required": False,
                "schema": text,
                "description": about,
            }
        )
    for each in one.journey.dimensions.values():
        if each.name in one.shape.inputs:
            schema = (
                {"default": each.default}
                if each.choose
                else {"enum": list(each.values), "default": each.default}
            )
            for place, said in (("cookie", each.cookie), ("header", each.header)):
                if said:
                    kind = text if said == "accept-language" else schema
                    found.append({"name": said, "in": place, "required": False, "schema": kind})
    about = "Only these fields of the answer: a,b.c"
    found.append({"name": "fields", "in": "query", "required": False, "schema": text, "description": about})
    about = "Send the parts as they finish"
    found.append({"name": "stream", "in": "query", "required": False, "schema": text, "description": about})
    return found
