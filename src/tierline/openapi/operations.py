"""The operations of an OpenAPI document, read for a comparison."""

from __future__ import annotations

import re
from typing import Any

from tierline.openapi.schema_kinds import Schemas, Unreadable

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
View = tuple[str, str, str]
"""Kind of client, the first app version, media type."""


def paths(document: dict[str, Any], schemas: Schemas) -> dict[str, tuple[str, dict[str, Any]]]:
    """By path without its values' names: the path and its operations, each with the path's own parameters."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    paths = document.get("paths", {})
    if not isinstance(paths, dict):
        raise Unreadable(f"{schemas.name}: `paths` is no object")
    for path, item in paths.items():
        item = schemas.resolve(item)
        if not isinstance(item, dict):
            raise Unreadable(f"{schemas.name}: paths[{path!r}] is no object")
        operations = {}
        for method in _METHODS:
            if method in item:
                if not isinstance(item[method], dict):
                    raise Unreadable(f"{schemas.name}: paths[{path!r}].{method} is no object")
                own = item[method].get("parameters") or []
                operations[method] = {**item[method], "parameters": [*(item.get("parameters") or []), *own]}
        found[re.sub(r"\{[^}]*\}", "{}", path)] = (path, operations)
    return found


NONE = object()


def default_of(schemas: Schemas, schema: Any) -> Any:
    found = schemas.resolve(schema)
    return found.get("default", NONE) if isinstance(found, dict) else NONE


def schema_of(holder: Any) -> Any:
    """The schema of a parameter, header or media type: their own, or that of their only content."""
    if not isinstance(holder, dict):
        return True
    if "schema" in holder:
        return holder["schema"]
    content = holder.get("content")
    return schema_of(next(iter(content.values()))) if isinstance(content, dict) and content else True


def parameters(operation: dict[str, Any], path: str, schemas: Schemas) -> dict[tuple[str, str], Any]:
    """By place and name; a path's values by their position, as nobody outside sees their names."""
    names = re.findall(r"\{([^}]*)\}", path)
    found: dict[tuple[str, str], Any] = {}
    for each in operation["parameters"]:
        each = schemas.resolve(each)
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise Unreadable(f"{schemas.name}: a parameter of {path} has no name")
        where, name = str(each.get("in")), each["name"]
        if where == "path":
            name = str(names.index(name)) if name in names else f"#{len(found)}"
        found[where, name.lower() if where == "header" else name] = each
    return found


def media_type(text: str) -> str:
    return text.partition(";")[0].strip().lower()


def views(operation: dict[str, Any]) -> dict[View, Any]:
    listed = operation.get("x-tierline-views")
    if not isinstance(listed, list):
        answers = operation.get("x-tierline-answers")
        if not isinstance(answers, dict):
            return {}
        return {(kind, "", "application/json"): {"$ref": ref} for kind, ref in answers.items()}
    return {
        (str(each.get("client")), str(each.get("since") or ""), str(each.get("media"))): schema_of(each)
        for each in listed
        if isinstance(each, dict)
    }


def number(since: str) -> tuple[int, ...]:
    return tuple(int(piece) for piece in since.split(".") if piece.isdecimal())


def ways(security: Any) -> list[dict[str, list[str]]]:
    """The ways to be let in; one that asks for nothing when there is no security."""
    found: list[dict[str, list[str]]] = []
    if isinstance(security, list):
        found = [each for each in security if isinstance(each, dict)]
    return found or [{}]


def within(way: dict[str, Any], held: dict[str, Any]) -> bool:
    """Whether who holds the one is let in by the other."""
    return all(
        scheme in held and set(scopes or ()) <= set(held[scheme] or ()) for scheme, scopes in way.items()
    )


def said(ways: list[dict[str, Any]]) -> str:
    words = [
        " and ".join(f"{name} ({', '.join(scopes)})" if scopes else name for name, scopes in way.items())
        or "nothing"
        for way in ways
    ]
    return " or ".join(words)


def pairs(claims: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in claims.items())
