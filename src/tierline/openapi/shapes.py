"""What a route's body templates mean for its operation: the service's own schemas don't hold outside any more."""

from __future__ import annotations

import re
from typing import Any

from tierline.tiers.gateway.common.routes import Routed

_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_:.-]*)\}")


def apply(operation: dict[str, Any], route: Routed, method: str) -> None:
    """Change an operation's bodies to what the gateway takes and gives."""
    if route.request_body is not None and method in ("post", "put", "patch"):
        fields = sorted({name.partition(".")[0] for name in _names(route.request_body)} - _params(route))
        schema: dict[str, Any] = {}
        if fields and fields != ["body"]:
            schema = {"type": "object", "properties": {name: {} for name in fields if name != "body"}}
        operation["requestBody"] = {
            "required": bool(fields),
            "content": {"application/json": {"schema": schema}},
        }
    if route.response_body is not None:
        shaped = {"application/json": {"schema": _schema(route.response_body)}}
        responses = operation.setdefault("responses", {})
        good = [status for status in responses if status.startswith("2")] or ["200"]
        for status in good:
            responses[status] = {"description": "The answer, as the gateway shapes it", "content": shaped}
        responses.setdefault("502", {"$ref": "#/components/responses/Refused"})


def _params(route: Routed) -> set[str]:
    return set(re.findall(r"\{([^}/]+)\}", route.path))


def _names(template: Any) -> list[str]:
    """Fields of the body that a template asks for."""
    if isinstance(template, dict):
        return [name for each in template.values() for name in _names(each)]
    if isinstance(template, list):
        return [name for each in template for name in _names(each)]
    found = _NAME.findall(template) if isinstance(template, str) else []
    return [name for name in found if not name.startswith(("query:", "header:"))]


def _schema(template: Any) -> dict[str, Any]:
    if isinstance(template, dict):
        inner = {name: _schema(each) for name, each in template.items()}
        return {"type": "object", "properties": inner, "required": list(inner)}
    if isinstance(template, list):
        return {"type": "array", "prefixItems": [_schema(each) for each in template]}
    if isinstance(template, str) and _NAME.fullmatch(template):
        return {}
    if isinstance(template, str) and _NAME.search(template):
        return {"type": "string"}
    return {"const": template}
