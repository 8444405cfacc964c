"""The types of answers of which only some fields are asked for, in the generated Python client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

Schema = dict[str, Any]
_DEEPEST = 4
_MOST_FIELDS = 300


class Declare(Protocol):
    def __call__(self, name: str, schema: Schema, *, partial: bool = False) -> str: ...


class Partial:
    """What is left of an answer when only some fields are asked for: the same types, all of whose fields may be missing.

    whole: components that are never asked for in parts.
    """

    def __init__(
        self,
        components: dict[str, Schema],
        declare: Declare,
        ident: Callable[[str], str],
        whole: Iterable[str],
    ) -> None:
        self._components = components
        self._declare = declare
        self._ident = ident
        self._names = frozenset(map(ident, components))
        self._whole = frozenset(whole)
        self._done: set[str] = set()

    def part_of(self, answer: str) -> str:
        """The type of a part of the answer."""
        return self._free(f"{self._ident(answer)}Part")

    def fields_of(self, answer: str) -> str:
        """The type of the names of an answer's fields."""
        return self._free(f"{self._ident(answer)}Field")

    def _free(self, name: str) -> str:
        while name in self._names:
            name += "_"
        return name

    def declared(self, answer: str) -> str:
        """The types of a partial answer, and of the names of its fields."""
        out = self._parts(answer)
        name = self.fields_of(answer)
        names = list(dict.fromkeys(self._fields({"$ref": f"/{answer}"}, 0)))
        names = [each for each in names if each.partition(".")[0] != "degraded"]
        listed = "".join(f"    {each!r},\n" for each in names)
        named = bool(names) and not any(each.endswith("*") for each in names) and len(names) <= _MOST_FIELDS
        return out + (f"\n\n{name} = Literal[\n{listed}]\n" if named else f"\n\n{name} = str\n")

    def _parts(self, name: str) -> str:
        """The partial type of a component, after those that it needs."""
        if name in self._done:
            return ""
        self._done.add(name)
        schema = self._components[name]
        below = dict.fromkeys(each for each in _references(schema) if self._is_partial(each))
        out = "".join(self._parts(each) for each in below)
        moved = _renamed(schema, {each: self.part_of(each) for each in below})
        return out + self._declare(self.part_of(name), moved, partial=True)

    def _is_partial(self, name: str) -> bool:
        return name in self._components and "enum" not in self._components[name] and name not in self._whole

    def _fields(self, schema: Any, depth: int) -> list[str]:
        if not isinstance(schema, dict) or depth >= _DEEPEST:
            return []
        if "$ref" in schema:
            return self._fields(self._components.get(schema["$ref"].rpartition("/")[2]), depth)
        found: list[str] = []
        for name, inner in (schema.get("properties") or {}).items():
            found.append(name)
            found += [f"{name}.{each}" for each in self._fields(inner, depth + 1)]
        for word in ("anyOf", "oneOf", "allOf"):
            for member in schema.get(word) or ():
                found += self._fields(member, depth)
        more = schema.get("additionalProperties")
        if schema.get("type") == "object" and not schema.get("properties") and more is not False:
            # Any name: what there is can't be listed.
            return ["*"]
        if schema.get("type") == "array":
            found += self._fields(schema.get("items"), depth)
        return found


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"].rpartition("/")[2]] if isinstance(schema.get("$ref"), str) else []
        return own + [each for value in schema.values() for each in _references(value)]
    return [each for value in schema for each in _references(value)] if isinstance(schema, list) else []


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, dict):
        found = {key: _renamed(value, names) for key, value in schema.items()}
        if isinstance(reference := schema.get("$ref"), str):
            before, _, name = reference.rpartition("/")
            found["$ref"] = f"{before}/{names.get(name, name)}"
        return found
    return [_renamed(each, names) for each in schema] if isinstance(schema, list) else schema
