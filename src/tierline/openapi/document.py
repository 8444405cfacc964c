"""One OpenAPI 3.1 document of a gateway: each route's operations as who answers describes them, and with what the
gateway adds; where nobody describes them, what the route itself says."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tierline.openapi import shapes
from tierline.openapi.asked import documents
from tierline.openapi.policies import Policies
from tierline.plan.model import Plan
from tierline.stack import Stack
from tierline.tiers.gateway.common.routes import Routed, routes

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""What a route that names no methods takes, as far as a reader wants to know."""
_BELOW = "below"


def document(stack: Stack, plan: Plan) -> tuple[dict[str, Any], list[str]]:
    """The document, and notes on services that could not be asked. The stack has a gateway."""
    role = next(role for role in plan.roles.values() if role.slot == "gateway")
    folder = Path(stack.__dict__["__where__"][0]).parent
    called = {each.upstream for each in routes(role, plan)}
    said, notes = documents([service for service in stack.services if service.name in called], folder)
    if stack.journeys:
        from tierline.journeys.openapi import openapi
        from tierline.journeys.routes import VIEWERS

        kinds = tuple(client.kind for client in stack.clients)
        said["experience"] = openapi(stack.journeys, clients=kinds or VIEWERS, passages=stack.passages)
    made = _Made(Policies(role.settings))
    versions = {version["name"]: version for version in role.settings["versions"]}
    for route in routes(role, plan):
        asked = {name for name in route.headers if name != role.settings["version_header"]}
        if route.name == "health" or route.hosts or asked:
            continue  # a narrower case of a path that is there anyway
        if route.version and role.settings["version_by"] == "header" and not route.headers:
            continue  # the same as the last version
        version = versions.get(route.version)
        if route.upstream in said:
            made.described(route, said[route.upstream], version)
        else:
            made.plain(route, version)
    name = role.settings["versions"][-1]["name"] if versions else "1"
    return made.document(stack.name, name), notes


def text(stack: Stack, plan: Plan) -> tuple[str, list[str]]:
    """The document as compact JSON, and the notes."""
    found, notes = document(stack, plan)
    return msgspec.json.encode(found).decode(), notes


class _Made:
    """A document in the making."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._paths: dict[str, dict[str, Any]] = {}
        self._spelling: dict[str, str] = {}
        """A path without its parameters' names → how it is written: two spellings would be one path twice."""
        self._components: dict[str, dict[str, Any]] = policies.components()
        self._brought: dict[str, dict[str, dict[str, str]]] = {}
        self._ids: set[str] = set()

    def document(self, title: str, version: str) -> dict[str, Any]:
        return {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version},
            "servers": [{"url": "/"}],
            "paths": dict(sorted(self._paths.items())),
            "components": {
                kind: dict(sorted(found.items())) for kind, found in self._components.items() if found
            },
        }

    def described(self, route: Routed, said: dict[str, Any], version: dict[str, Any] | None) -> None:
        """Operations of a route as who answers them describes them."""
        there = False
        for path, item in said["paths"].items():
            public = _public(route, path)
            if public is None or not isinstance(item, dict):
                continue
            there = True
            shared = item.get("parameters", [])
            for method in _METHODS:
                if method in item and (not route.methods or method.upper() in route.methods):
                    operation = self._moved(route.upstream, item[method], said)
                    if shared:
                        own = {(p.get("name"), p.get("in")) for p in operation.get("parameters", [])}
                        more = [p for p in self._moved(route.upstream, shared, said)
                                if (p.get("name"), p.get("in")) not in own]  # fmt: skip
                        operation["parameters"] = [*more, *operation.get("parameters", [])]
                    self._put(public, method, operation, route, version)
        if not there and route.given:
            self.plain(route, version)

    def plain(self, route: Routed, version: dict[str, Any] | None) -> None:
        """Operations of which only the route is known."""
        for path in _written(route):
            for method in route.methods or _ANY:
                operation: dict[str, Any] = {
                    "summary": f"Answered by {route.upstream}",
                    "responses": {"default": {"description": f"The answer of {route.upstream}"}},
                }
                names = re.findall(r"\{([^}]+)\}", path)
                if names:
                    operation["parameters"] = [
                        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                        for name in names
                    ]
                if path.endswith(f"{{{_BELOW}}}"):
                    operation["description"] = f"Everything below {route.path}, of one or more segments."
                self._put(path, method.lower(), operation, route, version)

    def _put(
        self, path: str, method: str, operation: dict[str, Any], route: Routed, version: dict[str, Any] | None
    ) -> None:
        path = self._spelling.setdefault(re.sub(r"\{[^}]*\}", "{}", path), path)
        item = self._paths.setdefault(path, {})
        if method in item:
            return  # a more specific route has said it
        shapes.apply(operation, route, method)
        self._policies.apply(operation, path, method.upper(), version)
        operation.setdefault("tags", [route.upstream])
        operation["operationId"] = self._id(operation.get("operationId"), route, method, path)
        item[method] = operation

    def _id(self, given: str | None, route: Routed, method: str, path: str) -> str:
        words = given or f"{route.upstream}_{method}_{path}"
        base = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_")
        explicit = route.version and route.path.startswith(f"/{route.version}")
        name = f"{route.version}_{base}" if explicit else base
        number, found = 1, name
        while found in self._ids:
            number += 1
            found = f"{name}_{number}"
        self._ids.add(found)
        return found

    def _moved(self, owner: str, part: Any, said: dict[str, Any]) -> Any:
        """A part of somebody's document with its references led to where their targets are here."""
        part = copy.deepcopy(part)
        for node in _nodes(part):
            reference = node.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/components/"):
                kind, _, name = reference.removeprefix("#/components/").partition("/")
                node["$ref"] = f"#/components/{kind}/{self._bring(owner, kind, name, said)}"
            if node.pop("nullable", None) and isinstance(node.get("type"), str):  # OpenAPI 3.0's way
                node["type"] = [node["type"], "null"]
            for field in ("x-tierline-answers",):
                for key, target in dict(node.get(field) or {}).items():
                    kind, _, name = target.removeprefix("#/components/").partition("/")
                    node[field][key] = f"#/components/{kind}/{self._bring(owner, kind, name, said)}"
            # A service behind a gateway asks for nothing that isn't the gateway's to check.
            if "security" in node and "responses" in node:
                del node["security"]
        return part

    def _bring(self, owner: str, kind: str, name: str, said: dict[str, Any]) -> str:
        """A component of somebody's document under a name that nobody else has."""
        known = self._brought.setdefault(owner, {}).setdefault(kind, {})
        if name not in known:
            here = self._components.setdefault(kind, {})
            known[name] = name if name not in here else f"{owner}_{name}"
            here[known[name]] = {}  # a schema may refer to itself
            target = said.get("components", {}).get(kind, {}).get(name, {})
            here[known[name]] = self._moved(owner, target, said)
        return known[name]


def _nodes(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for each in list(part.values()):
            yield from _nodes(each)
    elif isinstance(part, list):
        for each in part:
            yield from _nodes(each)


def _written(route: Routed) -> Iterable[str]:
    """A route as paths of a document: below a prefix stands a parameter."""
    if route.match != "prefix":
        return (route.path,)
    base = route.path.rstrip("/")
    return (route.path, f"{base}/{{{_BELOW}}}")


def _public(route: Routed, path: str) -> str | None:
    """What a path of who answers is called from outside by this route; None when it isn't reached by it."""
    if route.match == "prefix":
        behind = (route.rewrite if route.rewrite is not None else route.path).rstrip("/")
        if path == behind or path.startswith(f"{behind}/"):
            return (route.path.rstrip("/") + path[len(behind) :]) or "/"
        return None
    behind = route.path.removeprefix(route.cut) if route.match == "template" else route.rewrite or route.path
    same = re.sub(r"\{[^}]*\}", "{}", behind) == re.sub(r"\{[^}]*\}", "{}", path)
    if not same:
        return None
    return f"{route.cut}{path}" if route.match == "template" else route.path
