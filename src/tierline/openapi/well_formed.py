"""Whether a document that somebody else wrote has the form of OpenAPI 3 where it is read, told by the place where it hasn't."""

from __future__ import annotations

from typing import Any

from tierline.errors import RunError

_MAPS = frozenset(
    (
        "properties", "patternProperties", "$defs", "definitions", "paths", "responses", "content", "headers", "schemas",
        "requestBodies", "securitySchemes", "components", "x-tierline-claims", "x-tierline-answers",
    )
)  # fmt: skip
"""Objects whose names are free, and whose values are objects (or schemas)."""
_LISTS = frozenset(["anyOf", "oneOf", "allOf", "prefixItems"])
_TEXTS = frozenset(["required", "x-tierline-after"])
_VALUES = frozenset(
    ["enum", "const", "default", "example", "examples", "x-tierline-claims", "x-tierline-answers"]
)
"""What is below these is anybody's."""
_SCHEMAS = frozenset(["properties", "patternProperties", "$defs", "definitions", "schemas"])
_MOST_DEPTH = 200


def check(document: Any, name: str) -> None:
    """Raises RunError, naming the place, for what isn't of the form that its keyword asks for."""
    if not isinstance(document, dict):
        raise RunError(f"{name} is no object")
    _node(document, name, 0)


def _wrong(where: str, wanted: str, given: Any) -> RunError:
    return RunError(f"{where} is {type(given).__name__}; allowed: {wanted} (OpenAPI 3.1)")


def _node(node: dict[str, Any], where: str, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise RunError(f"{where[:200]}… is deeper than {_MOST_DEPTH} levels")
    for key, value in node.items():
        here = f"{where}/{key}"
        if key in _MAPS:
            _map(key, value, here, depth)
        elif key in _LISTS:
            _list(value, here, depth)
        elif key in _TEXTS:
            # `required` of a parameter is a boolean.
            listed = isinstance(value, list) and all(isinstance(each, str) for each in value)
            if not listed and not (key == "required" and isinstance(value, bool)):
                raise _wrong(here, "a list of names", value)
        elif key == "enum":
            if not isinstance(value, list):
                raise _wrong(here, "a list of values", value)
        elif key == "type":
            if not isinstance(value, str) and not (
                isinstance(value, list) and all(isinstance(each, str) for each in value)
            ):
                raise _wrong(here, "a type or a list of types", value)
        elif key == "parameters":
            _parameters(value, here, depth)
        elif key == "security":
            _security(value, here)
        elif key in _VALUES:
            continue
        elif isinstance(value, dict):
            _node(value, here, depth + 1)
        elif isinstance(value, list):
            for i, each in enumerate(value):
                if isinstance(each, dict):
                    _node(each, f"{here}/{i}", depth + 1)


def _map(key: str, value: Any, where: str, depth: int) -> None:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    if key in _VALUES:
        return
    for name, each in value.items():
        if isinstance(each, dict):
            _node(each, f"{where}/{name}", depth + 1)
        elif not (key in _SCHEMAS and isinstance(each, bool)):
            raise _wrong(f"{where}/{name}", "an object", each)


def _list(value: Any, where: str, depth: int) -> None:
    if not isinstance(value, list):
        raise _wrong(where, "a list of schemas", value)
    for i, each in enumerate(value):
        if isinstance(each, dict):
            _node(each, f"{where}/{i}", depth + 1)
        elif not isinstance(each, bool):
            raise _wrong(f"{where}/{i}", "a schema", each)


def _parameters(value: Any, where: str, depth: int) -> None:
    """A list of them at an operation, an object of them among the components."""
    each: Any
    if isinstance(value, list):
        pairs = [(str(i), each) for i, each in enumerate(value)]
    elif isinstance(value, dict):
        pairs = list(value.items())
    else:
        raise _wrong(where, "a list", value)
    for name, each in pairs:
        if not isinstance(each, dict):
            raise _wrong(f"{where}/{name}", "an object", each)
        _node(each, f"{where}/{name}", depth + 1)


def _security(value: Any, where: str) -> None:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    for i, each in enumerate(value):
        if not isinstance(each, dict):
            raise _wrong(f"{where}/{i}", "an object", each)
        for scheme, scopes in each.items():
            if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
                raise _wrong(f"{where}/{i}/{scheme}", "a list of scopes", scopes)
