"""OTLP over HTTP with JSON (OpenTelemetry protocol 1.x, section OTLP/HTTP): a user's own spans join the trip."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from tierline.trips.hop import Hop

MOST = 4 << 20
"""Largest body, bytes."""


def hops(body: bytes) -> list[Hop]:
    """The spans of an ExportTraceServiceRequest. Raises msgspec.DecodeError or ValueError for anything else."""
    found = []
    request: Any = msgspec.json.decode(body)
    if not isinstance(request, dict):
        raise ValueError("an ExportTraceServiceRequest is an object")
    for resource in request.get("resourceSpans", []):
        about = _attributes(resource.get("resource", {}).get("attributes", []))
        for scope in resource.get("scopeSpans", []):
            for span in scope.get("spans", []):
                begin, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                found.append(
                    Hop(
                        trace=_id(span["traceId"], 16),
                        span=_id(span["spanId"], 8),
                        parent=_id(span.get("parentSpanId", ""), 8),
                        tier="feature",
                        system=str(about.get("service.name", "unknown"))[:64],
                        start_us=begin // 1000,
                        duration_us=max(0, (end - begin) // 1000),
                        status=1 if span.get("status", {}).get("code") in (2, "STATUS_CODE_ERROR") else 0,
                        verdict="span",
                        name=str(span.get("name", ""))[:200],
                        attributes=_attributes(span.get("attributes", [])),
                    )
                )
    return found


def _id(text: str, size: int) -> str:
    """Hexadecimal as the specification asks, or base64 as some exporters send."""
    if len(text) in (0, size * 2):
        return text.lower()
    return base64.b64decode(text, validate=True).hex()


def _attributes(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: next(iter(each.get("value", {}).values()), None) for each in listed[:64]}
