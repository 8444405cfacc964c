"""A typed Python client of the journeys: one file that needs httpx and msgspec, nothing of tierline."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Any

from tierline.journeys.inputs import NOTHING
from tierline.journeys.journey import Journey
from tierline.journeys.pyclient_partial import Partial
from tierline.journeys.pyclient_text import CLIENT, HEAD
from tierline.journeys.routes import VIEWERS
from tierline.journeys.schemas import Described, Schema, describe, entry_name, input_schema, pascal

_TAKEN = frozenset(
    (
        "Any", "AsyncIterator", "Call", "EndEvent", "Event", "FirstEvent",
        "JourneyProblem", "Literal", "Mapping", "NotRequired", "PartEvent",
        "ProblemEvent", "Sequence", "TypedDict", "ViewEvent", "cast", "overload", "quote", "httpx", "msgspec", "asyncio",
        "dataclass", "random", "time", "uuid", "field",
    )
)  # fmt: skip
"""Names of the client's own: a type of the user that is called so gets another name."""


def python(journeys: Iterable[Journey], *, clients: Iterable[str] = VIEWERS) -> str:
    """The client's source: a class per kind of client, `await MobileJourneys("https://…").film(film_id=7)`."""
    kinds = tuple(clients)
    described, components = describe(journeys, kinds)
    out = [HEAD]
    for name, schema in components.items():
        out.append(_declare(_ident(name), schema))
    partial = Partial(components, _declare, _ident, whole=[entry_name(components)])
    answers = dict.fromkeys(one.answers[kind] for one in described for kind in kinds)
    for answer in answers:
        out.append(partial.declared(answer))
    out.append(CLIENT.replace("Degraded]", f"{_ident(entry_name(components))}]"))
    for kind in kinds:
        out.append(f"\n\nclass {pascal(kind)}Journeys(_Client):\n    kind = {kind!r}\n")
        for one in described:
            out.extend(_method(one, kind, method, partial) for method in one.journey.methods)
    text = "".join(out)
    return text


def _ident(name: str) -> str:
    found = re.sub(r"\W", "_", name)
    return f"{found}_" if found in _TAKEN or keyword.iskeyword(found) else found


def _declare(name: str, schema: Schema, *, partial: bool = False) -> str:
    parent = "TypedDict"
    if "allOf" in schema:
        inner = schema["allOf"][0]
        if "$ref" not in inner:
            schema = {**inner, "properties": {**inner.get("properties", {}), **schema.get("properties", {})}}
        else:
            parent = _ident(inner["$ref"].rpartition("/")[2])
    properties = None if schema.get("additionalProperties") else schema.get("properties")
    if not properties or any(not _plain(key) for key in properties):
        return f"\n\n{name} = {_type(schema, quoted=True)}\n"
    required = set(schema.get("required", ()))
    rows = []
    for key, inner in properties.items():
        kind = _type(inner)
        always = key in required or partial
        rows.append(f"    {key}: {kind}" if always else f"    {key}: NotRequired[{kind}]")
    return f"\n\nclass {name}({parent}{', total=False' if partial else ''}):\n" + "\n".join(rows) + "\n"


def _plain(key: str) -> bool:
    return key.isidentifier() and not keyword.iskeyword(key)


def _type(schema: Any, *, quoted: bool = False) -> str:
    """A JSON Schema as a Python annotation."""
    if not isinstance(schema, dict) or not schema:
        return "Any"
    if "$ref" in schema:
        name = _ident(schema["$ref"].rpartition("/")[2])
        return f'"{name}"' if quoted else name
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    for word in ("anyOf", "oneOf"):
        if word in schema:
            members = list(dict.fromkeys(_type(member) for member in schema[word]))
            text = "Any" if "Any" in members else " | ".join(members)
            return f'"{text}"' if quoted and "|" in text else text
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            return f"list[{' | '.join(dict.fromkeys(_type(item) for item in schema['prefixItems']))}]"
        return f"list[{_type(schema.get('items'))}]"
    if kind == "object":
        if schema.get("properties"):
            return "dict[str, Any]"
        return f"dict[str, {_type(schema.get('additionalProperties'))}]"
    return {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}.get(
        str(kind), "Any"
    )


def _method(one: Described, kind: str, method: str, partial: Partial) -> str:
    journey = one.journey
    name = journey.name.replace("-", "_") + ("" if len(journey.methods) == 1 else f"_{method.lower()}")
    name += "_" if keyword.iskeyword(name) or name == "close" else ""
    answer = _ident(one.answers[kind])
    inputs = []
    for value in one.inputs:
        found = _type(input_schema(one, value))
        if value.source == "path" or value.default is NOTHING:
            inputs.append(f"{value.name}: {found}")
        else:
            inputs.append(
                f"{value.name}: {found if 'None' in found or found == 'Any' else f'{found} | None'} = None"
            )
    if one.body is not None:
        inputs.append(f"body: {_type(one.body)}")
    call = "call_" if any(value.name == "call" for value in one.inputs) else "call"
    path = re.sub(r"\{(\w+)\}", r"{quote(str(\1), safe='')}", journey.path)
    prefix = "f" if one.journey.path_names else ""
    query = "{" + ", ".join(f'"{i.name}": {i.name}' for i in one.inputs if i.source == "query") + "}"
    body = "body" if one.body is not None else "None"
    effect = bool(one.shape.effects)
    about = f'        """{journey.about}"""\n' if journey.about else ""
    asked = f'"{method}", {prefix}"{path}", {query}, {body}, {effect}, {call}'

    def heading(fields: str) -> str:
        given = ", ".join([*inputs, fields, f"{call}: Call = _USUAL"])
        return f"\n    async def {name}(self, *, {given}) -> "

    only = ", ".join([*inputs, f"{call}: Call = _USUAL"])
    narrowed = f"Sequence[{partial.fields_of(one.answers[kind])}]"
    return (
        f"\n    @overload{heading('fields: None = None')}{answer}: ..."
        f"\n    @overload{heading(f'fields: {narrowed}')}{partial.part_of(one.answers[kind])}: ..."
        f"{heading(f'fields: {narrowed} | None = None')}Any:\n{about}"
        f"        return await self._send({asked}, fields)\n"
        f"\n    def {name}_stream(self, *, {only}) -> AsyncIterator[Event]:\n"
        f'        """The parts as they finish."""\n'
        f"        return self._stream({asked})\n"
    )
