"""JSON Schemas of one document taken apart: references resolved, unions as lists of schemas by type."""

from __future__ import annotations

import json
from typing import Any

Kinds = dict[str, list[dict[str, Any]]]

UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
EXACT = ("pattern", "format", "multipleOf", "uniqueItems")
LIMITS = (*LOWER, *UPPER, *EXACT)
CONDITIONS = (
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames", "dependentRequired",
    "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
)  # fmt: skip
"""Words that narrow a value in ways that aren't compared by meaning: with one it is narrower than without, and another
one may be anything."""
_SCALARS = ("string", "integer", "number", "boolean")
_MOST_VARIANTS = 64
_DEEPEST = 60


class Unreadable(ValueError):
    """A document that is not what it should be: where, and why."""


class Schemas:
    """The schemas of one document: references resolved, unions taken apart."""

    def __init__(self, document: dict[str, Any], name: str) -> None:
        self._document = document
        self.name = name

    def resolve(self, node: Any) -> Any:
        """What a `$ref` leads to; anything else is itself."""
        seen: set[str] = set()
        while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str):
            if reference in seen:
                raise Unreadable(f"{self.name}: $ref {reference!r} leads to itself")
            seen.add(reference)
            if not reference.startswith("#/"):
                raise Unreadable(f"{self.name}: $ref {reference!r} leads out of the document; allowed: #/…")
            node = self._document
            for step in reference[2:].split("/"):
                step = step.replace("~1", "/").replace("~0", "~")
                if not isinstance(node, dict) or step not in node:
                    raise Unreadable(f"{self.name}: $ref {reference!r} leads nowhere")
                node = node[step]
        return node

    def conditions(self, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema's conditions, with what they refer to in place of references."""
        return {word: self._expanded(schema[word], ()) for word in CONDITIONS if word in schema}

    def _expanded(self, node: Any, around: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [self._expanded(each, around) for each in node]
        if not isinstance(node, dict):
            return node
        reference = node.get("$ref")
        if isinstance(reference, str) and reference not in around and len(around) < _DEEPEST:
            return self._expanded(self.resolve(node), (*around, reference))
        return {key: self._expanded(value, around) for key, value in node.items()}

    def kinds(self, schema: Any) -> Kinds:
        """By JSON type ("any" for no limit): the schemas of this type that the value may have."""
        found: Kinds = {}
        for each in self._variants(schema, 0):
            found.setdefault(each["type"], []).append(each)
        if "any" in found:
            return {"any": found["any"][:1]}
        for kind in (*_SCALARS, "null"):
            if len(found.get(kind, ())) > 1:
                found[kind] = [_joined(found[kind])]
        if "integer" in found and "number" in found:
            found["number"] = [_joined(found.pop("integer") + found["number"])]
        return found

    def _variants(self, schema: Any, depth: int) -> list[dict[str, Any]]:
        if depth > _DEEPEST:
            raise Unreadable(f"{self.name}: schemas refer to each other without end")
        schema = self.resolve(schema)
        if schema is False:
            return []
        if schema is True or schema is None:
            return [{"type": "any"}]
        if not isinstance(schema, dict):
            raise Unreadable(f"{self.name}: {json.dumps(schema)[:60]} is no schema")
        own = {k: v for k, v in schema.items() if k not in ("allOf", "anyOf", "oneOf", "$ref", "nullable")}
        found = _plain(own)
        for member in schema.get("allOf") or ():
            found = _crossed(found, self._variants(member, depth + 1))
        for word in ("anyOf", "oneOf"):
            if members := schema.get(word):
                found = _crossed(found, [v for m in members for v in self._variants(m, depth + 1)])
        if schema.get("nullable") is True and not any(each["type"] in ("null", "any") for each in found):
            found.append({"type": "null"})
        return found[:_MOST_VARIANTS]


def _plain(schema: dict[str, Any]) -> list[dict[str, Any]]:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        typed: dict[str, list[Any]] = {}
        for value in values:
            typed.setdefault(_type_of(value), []).append(value)
        return [
            {"type": kind} if kind == "null" else {**schema, "type": kind, "enum": held}
            for kind, held in typed.items()
        ]
    kind = schema.get("type")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "any"
    return [{**schema, "type": str(each)} for each in (kind if isinstance(kind, list) else [kind])]


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _crossed(some: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every pair that one value can satisfy, as one schema."""
    found = []
    for one in some:
        for other in others:
            if one["type"] == other["type"] or "any" in (one["type"], other["type"]):
                kind = other["type"] if one["type"] == "any" else one["type"]
                both = {**one, **other, "type": kind}
                if "properties" in one or "properties" in other:
                    both["properties"] = {**(one.get("properties") or {}), **(other.get("properties") or {})}
                    both["required"] = [*(one.get("required") or ()), *(other.get("required") or ())]
                found.append(both)
    return found[:_MOST_VARIANTS]


def _joined(several: list[dict[str, Any]]) -> dict[str, Any]:
    """Scalars of one type as one: all their values; a limit only where all have it."""
    kind = "number" if any(each["type"] == "number" for each in several) else several[0]["type"]
    both: dict[str, Any] = {"type": kind}
    if all("enum" in each for each in several):
        both["enum"] = [value for each in several for value in each["enum"]]
    for limit in LIMITS:
        if all(each.get(limit) == several[0].get(limit) is not None for each in several):
            both[limit] = several[0][limit]
    for condition in CONDITIONS:
        if all(each.get(condition) == several[0].get(condition) is not None for each in several):
            both[condition] = several[0][condition]
    return both


def spoken(schemas: Schemas, schema: Any) -> str:
    """A schema in a few words."""
    return said(schemas, schemas.kinds(schema), 0)


def said(schemas: Schemas, kinds: Kinds, depth: int) -> str:
    words = []
    for kind, variants in sorted(kinds.items(), key=lambda pair: pair[0] == "null"):
        for each in variants[:4]:
            words.append(word(schemas, kind, each, depth))
    return " or ".join(dict.fromkeys(words)) or "nothing"


def word(schemas: Schemas, kind: str, each: dict[str, Any], depth: int) -> str:
    if "enum" in each:
        return ", ".join(json.dumps(value, ensure_ascii=False) for value in each["enum"])
    if kind == "any":
        return "anything"
    if kind == "array":
        items = schemas.kinds(each.get("items")) if "items" in each and depth < 2 else {"any": [{}]}
        return _limited(f"list of {said(schemas, items, depth + 1)}", each)
    if kind == "object":
        return str(each.get("title") or "object")
    return _limited(kind, each)


def _limited(text: str, schema: dict[str, Any]) -> str:
    limits = [f"{limit} {schema[limit]}" for limit in LIMITS if limit in schema]
    return f"{text} ({', '.join(limits)})" if limits else text
