"""RFC 9457: every refusal of Envoy's own is a problem document."""

from __future__ import annotations

from typing import Any

from tierline.engines.envoy.budget import LATE, METADATA
from tierline.plan.budgets import beyond
from tierline.plan.model import Budget

TITLES = {
    400: "Bad request", 401: "Valid credentials are needed", 403: "Forbidden", 404: "No such route",
    405: "Method not allowed", 408: "Request timeout", 413: "The request is too large", 415: "JSON is needed",
    421: "Misdirected",
    426: "Upgrade required", 429: "Too many requests", 431: "Headers are too large", 500: "Internal error",
    501: "Not implemented", 502: "The service broke off", 503: "Nobody behind answers", 504: "The service took too long",
}  # fmt: skip


_CEL = {
    "name": "envoy.formatter.cel",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel",
        "cel_config": {"enable_string_functions": True},
    },
}
_TRACE_ID = "%CEL(request.headers['traceparent'].substring(3, 35))%"
"""Envoy's own `%TRACE_ID%` is empty unless its tracing is on."""


def _problem(title: str, detail: str = "%LOCAL_REPLY_BODY%") -> dict[str, Any]:
    return {
        "content_type": "application/problem+json",
        "formatters": [_CEL],
        # What comes before a trace could begin, such as a request that is none, has none.
        "omit_empty_values": True,
        "json_format": {
            "type": "about:blank", "status": "%RESPONSE_CODE%", "title": title, "detail": detail,
            "code": "%RESPONSE_CODE_DETAILS%", "trace_id": _TRACE_ID,
        },
    }  # fmt: skip


def _mapper(status: int, title: str, op: str = "EQ", detail: str = "%LOCAL_REPLY_BODY%") -> dict[str, Any]:
    same = {
        "comparison": {
            "op": op,
            "value": {"default_value": status, "runtime_key": f"tierline.p{op.lower()}{status}"},
        }
    }
    return {"filter": {"status_code_filter": same}, "body_format_override": _problem(title, detail)}


def _told(details: str, status: int, title: str, detail: str = "%LOCAL_REPLY_BODY%") -> dict[str, Any]:
    """A refusal that Envoy would answer with another status than what it means."""
    expression = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": f"response.code_details.contains({details!r})",
    }
    name = "envoy.access_loggers.extension_filters.cel"
    return {
        "filter": {"extension_filter": {"name": name, "typed_config": expression}},
        "status_code": status,
        "body_format_override": _problem(title, detail),
    }


def problems(budget: Budget, told: Budget | None = None) -> dict[str, Any]:
    """The local replies of a manager whose role has this budget. A limit's text is its route's. told: the budget that
    names the owner of the limits, where this role is none."""
    of = {field: f"%METADATA(ROUTE:{METADATA}:{field})%" for field in ("body", "first_byte", "idle", "total")}
    told = told or budget
    fields = f"{beyond(told, 'request_fields')}, or more than {told.field_count}"
    broken = "no whole answer came"
    if "answer_fields" in budget.settings:
        broken += f", or {beyond(budget, 'answer_fields')}"
    mappers = [
        # A rule of access control says 403; a token that isn't good enough is no valid credential.
        _told("[token-algorithm]", 401, TITLES[401]),
        # Another try after a time-out.
        _told(f"[{LATE}]", 504, TITLES[504], of["first_byte"]),
        # Without a whole answer, Envoy says the same of all that takes too long.
        _told("stream_idle_timeout", 504, TITLES[504], of["idle"]),
        _told("response_timeout", 504, TITLES[504], of["total"]),
        # An answer that is too large to be shaped is the service's fault.
        _told("response_payload_too_large", 502, "The service's answer is too large"),
        # An answer that is none, or larger in its fields than Envoy takes: it says the same of both.
        _told("{protocol_error", 502, TITLES[502], broken),
        _mapper(413, TITLES[413], detail=of["body"]),
        _mapper(431, TITLES[431], detail=fields),
        _mapper(504, TITLES[504], detail=of["first_byte"]),
        *(_mapper(status, title) for status, title in TITLES.items() if status not in (413, 431, 504)),
        # What Envoy answers itself and is no refusal (a preflight, a document) stays as it is.
        _mapper(400, "Refused", "GE"),
    ]
    return {"mappers": mappers}
