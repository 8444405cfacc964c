"""A budget (plan/budgets.py) in Envoy's words: time-outs of managers and routes, sizes, and who says what.

`timeout` of a route is for the whole answer, so it is the budget's time in all. The time until an answer begins is
`per_try_timeout`. Envoy would try again what wasn't answered in time, as often as what failed; such a try carries
`x-envoy-is-timeout-retry`, and a rule of the cluster refuses it: the first time-out is the last.
"""

from __future__ import annotations

from typing import Any

from tierline.plan.budgets import beyond
from tierline.plan.model import Budget

LATE = "timeout"
"""The rule that refuses another try after a time-out, as the details of its refusal name it."""
METADATA = "tierline.budget"
"""What a route's refusals say: `%METADATA(ROUTE:tierline.budget:body)%`."""
_HTTP = "type.googleapis.com/envoy.extensions."


def manager(budget: Budget) -> dict[str, Any]:
    """Fields of an HTTP connection manager."""
    return {
        # An upgraded connection, an event stream and a slow reader alike end only when nothing moves.
        "stream_idle_timeout": time(budget.idle),
        "request_headers_timeout": "10s",
        # A body that trickles in for longer is an attack, not an upload.
        "request_timeout": time(budget.upload),
        "max_request_headers_kb": -(-(budget.request_line + budget.request_fields) // 1024),
    }


def route(budget: Budget, retry_policy: dict[str, Any]) -> dict[str, Any]:
    """Fields of a route action."""
    found: dict[str, Any] = {"timeout": time(budget.total), "idle_timeout": time(budget.idle)}
    if "first_byte" in budget.settings and (budget.total is None or budget.total > budget.first_byte):
        retry_policy = {**retry_policy, "per_try_timeout": time(budget.first_byte)}
    return {**found, "retry_policy": retry_policy}


def said(budget: Budget) -> dict[str, Any]:
    """The metadata of a route: what its refusals say."""
    fields = ("body", "first_byte", "idle", "total")
    told = {field: beyond(budget, field) for field in fields if field in budget.settings}
    return {"metadata": {"filter_metadata": {METADATA: told}}} if told else {}


def too_large(budget: Budget, path: dict[str, Any]) -> list[dict[str, Any]]:
    """A route before others that refuses a body whose length is beyond the budget. path: what it matches."""
    if budget.body is None or "body" not in budget.settings:
        return []
    larger = {"start": budget.body + 1, "end": (1 << 63) - 1}
    length = {"name": "content-length", "range_match": larger}
    return [
        {
            "name": "max_body",
            "match": {**path, "headers": [*path.get("headers", []), length]},
            "direct_response": {"status": 413, "body": {"inline_string": beyond(budget, "body")}},
            **said(budget),
        }
    ]


def upstream(budget: Budget, protocol: dict[str, Any]) -> dict[str, Any]:
    """Extension options of a cluster: the largest fields of an answer, and no other try after a time-out."""
    options: dict[str, Any] = {
        "@type": _HTTP + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": protocol,
        "common_http_protocol_options": {
            "max_response_headers_kb": -(-budget.answer_fields // 1024),
            "max_headers_count": 4 * budget.field_count,
        },
    }
    if "first_byte" in budget.settings:
        late = {"header": {"name": "x-envoy-is-timeout-retry", "string_match": {"exact": "true"}}}
        rules = {
            "action": "DENY",
            "policies": {LATE: {"permissions": [late], "principals": [{"any": True}]}},
        }
        options["http_filters"] = [
            {
                "name": "envoy.filters.http.rbac",
                "typed_config": {"@type": _HTTP + "filters.http.rbac.v3.RBAC", "rules": rules},
            },
            {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {"@type": _HTTP + "filters.http.upstream_codec.v3.UpstreamCodec"},
            },
        ]
    return {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        }
    }


def unheld(budget: Budget) -> dict[str, str]:
    """What Envoy can't hold of what this role is the one to refuse."""
    if budget.settings.get("body", "").startswith("LoadBalancer"):
        return {
            "max_body": "Envoy counts no body that it passes on: one that doesn't say how long it is isn't bounded"
        }
    return {}


def time(seconds: float | None) -> str:
    """Seconds as Envoy writes them; none: no limit."""
    return "0s" if seconds is None else f"{seconds:g}s"
