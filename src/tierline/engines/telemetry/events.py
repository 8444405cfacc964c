"""Events: what visitors did, step by step. From the journeys through the hop files, from services as OTLP logs."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from typing import Any

import msgspec

MARK = b'{"event":'
"""How a line of a hop file begins that is an event."""
COLUMNS = ("time", "event", "funnel", "step", "position", "session", "client", "zone", "trace", "attributes")
_KNOWN = frozenset(("at", "event", "funnel", "step", "index", "session", "client", "zone", "trace"))

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LATEST = 253_402_300_799
"""Seconds since the epoch: the end of the year 9999."""
_MOST_STEPS = 1_000_000

Row = tuple[int, str, str, str, int, str, str, str, str, dict[str, Any]]
"""An event as `COLUMNS` says; time in µs since the epoch."""


def pseudonym(key: str, session: str) -> str:
    """A session's name in the warehouse: the same for the same session, and no way back to its id.

    BLAKE2b with the line's own key (RFC 7693, section 2.9): a signed-in user's id could be guessed otherwise.
    """
    if not session:
        return ""
    return hashlib.blake2b(session.encode(), key=key.encode()[:64], digest_size=12).hexdigest()


def row(line: bytes) -> Row | None:
    """The event of one line; None for one that can't be read."""
    try:
        return _row(msgspec.json.decode(line, type=dict[str, Any]))
    except (msgspec.DecodeError, ValueError, TypeError):
        return None


def _row(told: dict[str, Any]) -> Row:
    """Raises ValueError for what the store's columns can't hold: one such row would keep all others out."""

    def text(name: str) -> str:
        return _CONTROL.sub(" ", str(told.get(name) or "")[:200])

    at, index = float(told.get("at") or time.time()), float(told.get("index") or 0)
    if not (0 <= at <= _LATEST and abs(index) <= _MOST_STEPS):
        raise ValueError("a time or a step's number that is none")
    return (
        int(at * 1e6), text("event"), text("funnel"), text("step"),
        int(index), text("session"), text("client"), text("zone"), text("trace"),
        {name: value for name, value in told.items() if name not in _KNOWN},
    )  # fmt: skip


def logs(body: bytes, key: str) -> list[Row]:
    """Events of an ExportLogsServiceRequest (OpenTelemetry protocol 1.x, OTLP/HTTP with JSON).

    A record is an event when it has an `eventName`, or the attribute `event.name`. Of its attributes `funnel`, `step`,
    `step.index`, `session.id` and `client` have columns of their own. Raises ValueError for anything else than a request.
    """
    request: Any = msgspec.json.decode(body)
    if not isinstance(request, dict):
        raise ValueError("an ExportLogsServiceRequest is an object")
    found = []
    for resource in request.get("resourceLogs", []):
        about = _attributes(resource.get("resource", {}).get("attributes", []))
        for scope in resource.get("scopeLogs", []):
            for record in scope.get("logRecords", []):
                told = _attributes(record.get("attributes", []))
                name = record.get("eventName") or told.pop("event.name", "")
                if not name:
                    continue
                at = int(record.get("timeUnixNano") or record.get("observedTimeUnixNano") or 0)
                told["session"] = pseudonym(key, str(told.pop("session.id", "")))
                told["index"] = told.pop("step.index", 0)
                told["service"] = about.get("service.name", "unknown")
                told["trace"] = _id(record.get("traceId", ""))
                found.append(_row({**told, "event": name, "at": at / 1e9}))
    return found


def _id(text: str) -> str:
    return text.lower() if len(text) in (0, 32) else base64.b64decode(text, validate=True).hex()


def _attributes(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: next(iter(each.get("value", {}).values()), None) for each in listed[:64]}
