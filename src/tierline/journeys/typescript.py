"""A typed client of the journeys for the browser and for Node: TypeScript, or a module that needs no build step."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from tierline.journeys import ecmascript
from tierline.journeys.ecmascript import typed, untyped
from tierline.journeys.inputs import NOTHING
from tierline.journeys.journey import Journey
from tierline.journeys.routes import VIEWERS
from tierline.journeys.schemas import Described, Schema, describe, entry_name, input_schema, pascal

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_TAKEN = ("client", "constructor")
"""What the class has already, so no journey's method may be called so."""


def typescript(journeys: Iterable[Journey], *, clients: Iterable[str] = VIEWERS) -> str:
    """The client's source: `new Journeys("mobile", {base}).film({film_id: 7})`."""
    kinds = tuple(clients)
    described, components = describe(journeys, kinds)
    out = [ecmascript.NOTE, *_types(described, components, kinds), typed(ecmascript.PROBLEM)]
    out.append(typed(ecmascript.CLASS) + "".join(map(typed, _methods(described))) + "}\n")
    return "\n".join(out)


def javascript(journeys: Iterable[Journey], *, clients: Iterable[str] = VIEWERS) -> str:
    """The same client as an ECMAScript module, which a browser loads as it is. Its types: `declarations`."""
    described, _ = describe(journeys, tuple(clients))
    out = [ecmascript.NOTE, untyped(ecmascript.PROBLEM)]
    out.append(untyped(ecmascript.CLASS) + "".join(map(untyped, _methods(described))) + "}\n")
    return "\n".join(out)


def declarations(journeys: Iterable[Journey], *, clients: Iterable[str] = VIEWERS) -> str:
    """The types of `javascript`, as the `.d.ts` that stands beside it."""
    kinds = tuple(clients)
    described, components = describe(journeys, kinds)
    out = [ecmascript.NOTE, *_types(described, components, kinds), ecmascript.PROBLEM_DECLARED]
    out.append(ecmascript.CLASS_DECLARED + "".join(_methods(described, declared=True)) + "}\n")
    return "\n".join(out)


def _types(described: list[Described], components: dict[str, Schema], kinds: tuple[str, ...]) -> list[str]:
    entry = _ident(entry_name(components))
    out = [
        ecmascript.TYPES.replace("Degraded[]", f"{entry}[]"),
        f"export type Client = {' | '.join(json.dumps(kind) for kind in kinds)};\n",
    ]
    out += [_declare(name, schema) for name, schema in components.items()]
    for one in described:
        rows = "".join(f"  {_key(part)}: {_type(schema, 1)};\n" for part, schema in one.parts.items())
        out += [_inputs(one), _answers(one, kinds)]
        out.append(f"export interface {pascal(one.journey.name)}Parts {{\n{rows}}}\n")
    return out


def _declare(name: str, schema: Schema) -> str:
    about = schema.get("description")
    comment = f"/** {about.replace('*/', '* /')} */\n" if about else ""
    return f"{comment}export type {_ident(name)} = {_type(schema)};\n"


def _ident(name: str) -> str:
    found = re.sub(r"\W", "_", name)
    return f"{found}_" if found in ecmascript.TYPES_TAKEN else found


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name)


def _type(schema: Any, depth: int = 0) -> str:
    """A JSON Schema as a TypeScript type."""
    if not isinstance(schema, dict) or not schema:
        return "unknown"
    if "$ref" in schema:
        return _ident(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    for word, joint in (("anyOf", " | "), ("oneOf", " | "), ("allOf", " & ")):
        if word in schema:
            members = [_type(member, depth) for member in schema[word]]
            if schema.get("properties"):
                members.append(_object(schema, depth))
            return "(" + joint.join(dict.fromkeys(members)) + ")"
    kind = schema.get("type")
    if isinstance(kind, list):
        return "(" + " | ".join(_type({**schema, "type": one}, depth) for one in kind) + ")"
    if kind == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(_type(item, depth) for item in schema["prefixItems"]) + "]"
        return f"{_type(schema.get('items'), depth)}[]"
    if kind == "object":
        more = schema.get("additionalProperties")
        if not schema.get("properties"):
            return f"Record<string, {_type(more, depth)}>"
        known = _object(schema, depth)
        return f"({known} & Record<string, {_type(more, depth)}>)" if isinstance(more, dict) else known
    return {
        "string": "string",
        "integer": "number",
        "number": "number",
        "boolean": "boolean",
        "null": "null",
    }.get(str(kind), "unknown")


def _object(schema: Schema, depth: int) -> str:
    required = set(schema.get("required", ()))
    space = "  " * (depth + 1)
    rows = [
        f"{space}{_key(name)}{'' if name in required else '?'}: {_type(inner, depth + 1)};"
        for name, inner in schema["properties"].items()
    ]
    return "{\n" + "\n".join(rows) + "\n" + "  " * depth + "}"


def _inputs(one: Described) -> str:
    rows = []
    for value in one.inputs:
        optional = "" if value.source == "path" or value.default is NOTHING else "?"
        rows.append(f"  {_key(value.name)}{optional}: {_type(input_schema(one, value))};\n")
    if one.body is not None:
        rows.append(f"  body: {_type(one.body)};\n")
    return f"export interface {pascal(one.journey.name)}Inputs {{\n{''.join(rows)}}}\n"


def _answers(one: Described, kinds: tuple[str, ...]) -> str:
    rows = "".join(f"  {_key(kind)}: {_ident(one.answers[kind])};\n" for kind in kinds)
    return f"export interface {pascal(one.journey.name)}Answers {{\n{rows}}}\n"


def camel(name: str) -> str:
    found = pascal(name)
    return found[0].lower() + found[1:]


def _methods(described: list[Described], *, declared: bool = False) -> list[str]:
    return [_method(one, method, declared) for one in described for method in one.journey.methods]


def _method(one: Described, method: str, declared: bool) -> str:
    """A method's source with its types marked, or what is declared of it."""
    journey = one.journey
    title = pascal(journey.name)
    name = camel(journey.name) + ("" if len(journey.methods) == 1 else method.capitalize())
    name += "_" if name in _TAKEN else ""
    required = one.body is not None or any(i.source == "path" or i.default is NOTHING for i in one.inputs)
    about = f"  /** {journey.about.replace('*/', '* /')} */\n" if journey.about else ""
    whole = f"{title}Answers[C]"
    answer, event = f"Answer<{whole}, F>", f"PartEvent<{title}Parts, {whole}>"
    narrows = f"<F extends Field<{whole}> = never>"
    said = "  /** The parts as they finish. */\n"
    if declared:
        given = f"inputs{'' if required else '?'}: {title}Inputs, call?"
        return (
            f"\n{about}  {name}{narrows}({given}: Call<F>): Promise<{answer}>;\n"
            f"\n{said}  {name}Stream({given}: StreamCall): AsyncGenerator<{event}>;\n"
        )
    given = f"inputs«: {title}Inputs»{'' if required else ' = {}'}, call"
    path = re.sub(r"\{(\w+)\}", r"${encodeURIComponent(String(inputs.\1))}", journey.path)
    query = ", ".join(f"{_key(i.name)}: inputs.{i.name}" for i in one.inputs if i.source == "query")
    query = f"{{ {query} }}" if query else "{}"
    body = "inputs.body" if one.body is not None else "undefined"
    effect = str(bool(one.shape.effects)).lower()
    asked = f'{{ method: "{method}", path: `{path}`, query: {query}, body: {body}, effect: {effect} }}'
    return (
        f"\n{about}  {name}«{narrows}»({given}«: Call<F>» = {{}})«: Promise<{answer}>» {{\n"
        f"    return this.#call({asked}, call);\n  }}\n"
        f"\n{said}  {name}Stream({given}«: StreamCall» = {{}})«: AsyncGenerator<{event}>» {{\n"
        f"    return this.#events({asked}, call);\n  }}\n"
    )
