"""JSON Schemas of an OpenAPI document as Python types, in text: structs whose fields are checked when they are read."""

from __future__ import annotations

import json
import keyword
import re
from typing import Any

from tierline.errors import RunError

Schema = Any
_FORMATS = {"date-time": "datetime.datetime", "date": "datetime.date", "uuid": "uuid.UUID"}
_NUMBERS = ("int", "float")
_LIMITS = (
    ("minimum", "ge", _NUMBERS),
    ("exclusiveMinimum", "gt", _NUMBERS),
    ("maximum", "le", _NUMBERS),
    ("exclusiveMaximum", "lt", _NUMBERS),
    ("multipleOf", "multiple_of", _NUMBERS),
    ("minLength", "min_length", ("str",)),
    ("maxLength", "max_length", ("str",)),
    ("minItems", "min_length", ("list",)),
    ("maxItems", "max_length", ("list",)),
)
_SHADOWS = frozenset(["str", "int", "float", "bool", "list", "dict", "datetime", "uuid", "msgspec"])
"""Names that types use, which a field can't have."""
_UNNAMEABLE = re.compile(r'[\\"\x00-\x1f]')
"""What no field of a struct can be called on the wire."""
_DEEPEST = 40


def identifier(name: str, taken: frozenset[str] | set[str] = frozenset()) -> str:
    """A name of Python for one of the document: `film-id` and `filmId` are film_id."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    text = re.sub(r"[\W_]+", "_", text, flags=re.ASCII).strip("_").lower() or "value"
    text = f"n{text}" if text[0].isdigit() else text
    while text in taken or keyword.iskeyword(text):
        text += "_"
    return text


def quoted(value: str | int) -> str:
    """A text or a number as Python writes it."""
    return json.dumps(value) if isinstance(value, str) else repr(value)


def class_name(name: str) -> str:
    text = "".join(
        piece[:1].upper() + piece[1:] for piece in re.split(r"[\W_]+", name, flags=re.ASCII) if piece
    )
    return f"N{text}" if not text or text[0].isdigit() else text


class Types:
    """Declares a document's types as they are needed. `notes` says what can't be said in Python's types."""

    def __init__(self, document: dict[str, Any], taken: set[str]) -> None:
        self._document = document
        self._taken = set(taken)
        self._names: dict[str, str] = {}
        self.declared: dict[str, str] = {}
        self.notes: list[str] = []
        self._open: list[str] = []

    def resolve(self, node: Any) -> Any:
        """What a reference inside the document leads to."""
        seen: set[str] = set()
        while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
            if reference in seen or not reference.startswith("#/"):
                raise RunError(
                    f"$ref {reference!r} can't be followed; it has to lead to a place in the same document"
                )
            seen.add(reference)
            node = self._document
            for step in reference[2:].split("/"):
                node = (
                    node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
                )
            if node is None:
                raise RunError(f"$ref {reference!r} leads nowhere in the document")
        return node

    def free(self, wanted: str) -> str:
        """A class name that nothing else has."""
        name = class_name(wanted)
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def annotation(self, schema: Schema, hint: str, depth: int = 0) -> str:
        """The type of a schema. hint: what an object in it is called when it has no name of its own."""
        if depth > _DEEPEST:
            raise RunError(f"the schemas of {hint} refer to each other without end")
        if not isinstance(schema, dict):
            return "Any"
        if isinstance(reference := schema.get("$ref"), str):
            return self._referred(reference, depth)
        if "allOf" in schema:
            return self._object(self._merged(schema, depth), hint, depth) or self._single(schema, hint, depth)
        if members := schema.get("anyOf") or schema.get("oneOf"):
            return self._union([*members, *self._null(schema)], hint, depth)
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return self._union([{**schema, "type": kind} for kind in kinds], hint, depth)
        if schema.get("nullable") is True:
            return self._union([{**schema, "nullable": False}, {"type": "null"}], hint, depth)
        return self._plain(schema, hint, depth)

    def _null(self, schema: dict[str, Any]) -> list[Schema]:
        return [{"type": "null"}] if schema.get("nullable") is True else []

    def _single(self, schema: dict[str, Any], hint: str, depth: int) -> str:
        members = [each for each in schema["allOf"] if isinstance(each, dict) and each]
        found = self.annotation(members[0], hint, depth + 1) if len(members) == 1 else "Any"
        return f"{found} | None" if schema.get("nullable") is True and found != "Any" else found

    def _referred(self, reference: str, depth: int) -> str:
        if reference not in self._names:
            target = self.resolve({"$ref": reference})
            wanted = reference.rpartition("/")[2]
            if self._is_object(target):
                self._names[reference] = name = self.free(wanted)
                self._declare(name, self._merged(target, depth), depth)
            else:
                self._names[reference] = "Any"  # an alias that leads to itself
                self._names[reference] = self.annotation(target, wanted, depth + 1)
        return self._names[reference]

    def _is_object(self, schema: Any) -> bool:
        if not isinstance(schema, dict) or schema.get("nullable") is True:
            return False
        return bool(self._merged(schema, 0).get("properties"))

    def _merged(self, schema: Any, depth: int) -> dict[str, Any]:
        """An object with the fields of all that it is made of."""
        schema = self.resolve(schema)
        if depth > _DEEPEST or not isinstance(schema, dict) or "anyOf" in schema or "oneOf" in schema:
            return {}
        fields: dict[str, Any] = {}
        required: list[str] = []
        for member in schema.get("allOf") or ():
            inner = self._merged(member, depth + 1)
            fields.update(inner.get("properties") or {})
            required += inner.get("required") or []
        if schema.get("type", "object") == "object":
            fields.update(schema.get("properties") or {})
            required += schema.get("required") or []
        return {**schema, "properties": fields, "required": required}

    def _object(self, schema: dict[str, Any], hint: str, depth: int) -> str:
        if not schema.get("properties"):
            return ""
        name = self.free(str(schema.get("title") or hint))
        self._declare(name, schema, depth)
        return f"{name} | None" if schema.get("nullable") is True else name

    def _declare(self, name: str, schema: dict[str, Any], depth: int) -> None:
        required = set(schema["required"])
        rows = []
        taken: set[str] = set()
        for field, inner in schema["properties"].items():
            if _UNNAMEABLE.search(field):
                self.notes.append(f"{name}: the field {field!r} is left out")
                continue
            own = _field(field, taken)
            taken.add(own)
            kind = self.annotation(inner, f"{name}_{field}", depth + 1)
            renamed = own != field
            if field in required:
                rows.append(
                    f"    {own}: {kind}" + (f" = msgspec.field(name={quoted(field)})" if renamed else "")
                )
            else:
                default = f"msgspec.field(default=UNSET, name={quoted(field)})" if renamed else "UNSET"
                rows.append(f"    {own}: {kind if kind == 'Any' else f'{kind} | Unset'} = {default}")
        about = (
            str(schema.get("description") or "")
            .strip()
            .split("\n")[0]
            .replace("\\", "")
            .replace('"""', "'''")
        )
        said = f'    """{about.rstrip(chr(34))}"""\n\n' if about.rstrip('"') else ""
        body = "\n".join(rows) or "    pass"
        self.declared[name] = f"class {name}(msgspec.Struct, kw_only=True):\n{said}{body}\n"

    def _union(self, members: list[Schema], hint: str, depth: int) -> str:
        found = list(dict.fromkeys(self.annotation(each, hint, depth + 1) for each in members))
        flat = list(dict.fromkeys(piece for each in found for piece in split(each)))
        if "Any" in flat:
            return "Any"
        shapes = [_shape(each) for each in flat]
        if any(shapes.count(each) > 1 for each in shapes if each != "null"):
            self.notes.append(
                f"{hint} is one of {', '.join(flat)}, which can't be told apart when they are read: Any"
            )
            return "Any"
        return " | ".join(flat) or "Any"

    def _plain(self, schema: dict[str, Any], hint: str, depth: int) -> str:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(values, list) and values:
            if all(value is None or type(value) in (str, int) for value in values):
                plain = [value for value in values if value is not None]
                words = [f"Literal[{', '.join(map(quoted, plain))}]"] if plain else []
                return " | ".join([*words, *(["None"] if None in values else [])])
            return "Any"
        kind = schema.get("type")
        if kind == "array":
            items = (
                self.annotation(schema["items"], f"{hint}_item", depth + 1) if "items" in schema else "Any"
            )
            return _limited(f"list[{items}]", schema)
        if kind == "object" or "properties" in schema:
            if found := self._object(self._merged(schema, depth), hint, depth):
                return found
            more = schema.get("additionalProperties")
            return f"dict[str, {self.annotation(more, f'{hint}_value', depth + 1)}]"
        if kind == "string":
            if form := _FORMATS.get(str(schema.get("format"))):
                return form
            return _limited("str", schema)
        return _limited(
            {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}.get(str(kind), "Any"),
            schema,
        )


def _field(name: str, taken: set[str]) -> str:
    """A field's name: its own where Python and the types beside it allow that."""
    plain = name.isidentifier() and name.isascii() and name[0].islower()
    if plain and name not in taken and name not in _SHADOWS and not keyword.iskeyword(name):
        return name
    return identifier(name, taken | _SHADOWS)


def split(kind: str) -> list[str]:
    """The members of a union."""
    found, depth, start = [], 0, 0
    for i, letter in enumerate(kind):
        depth += (letter == "[") - (letter == "]")
        if depth == 0 and kind.startswith(" | ", i):
            found.append(kind[start:i])
            start = i + 3
    return [*found, kind[start:]]


def _shape(kind: str) -> str:
    """What JSON a type is read from: two of one can't be told apart."""
    kind = kind.removeprefix("Annotated[")
    if kind.startswith(("str", "datetime.", "uuid.", 'Literal["')):
        return "string"
    if kind.startswith(("int", "float", "Literal[")):
        return "number"
    return {"None": "null", "bool": "boolean"}.get(kind, "array" if kind.startswith("list") else "object")


def _limited(kind: str, schema: dict[str, Any]) -> str:
    """With the limits that the schema sets on values of this type."""
    words = []
    for limit, word, kinds in _LIMITS:
        value = schema.get(limit)
        if kind.startswith(kinds) and isinstance(value, int | float) and not isinstance(value, bool):
            words.append(f"{word}={int(value) if word.endswith('length') else value!r}")
    pattern = schema.get("pattern")
    if kind == "str" and isinstance(pattern, str):
        try:
            re.compile(pattern)
        except re.error:
            pass
        else:
            words.append(f"pattern={json.dumps(pattern)}")
    return f"Annotated[{kind}, msgspec.Meta({', '.join(words)})]" if words else kind
