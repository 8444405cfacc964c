"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Any

import msgspec

from tierline.journeys.fault import JourneyError

_encode = msgspec.json.Encoder(enc_hook=str).encode
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
MEDIA = b"application/problem+json"


def problem(status: int, slug: str, title: str, detail: str = "", **extra: Any) -> bytes:
    """A problem document. Empty members are left out."""
    document: dict[str, Any] = {"type": f"urn:tierline:problem:{slug}", "title": title, "status": status}
    if detail:
        document["detail"] = detail
    document.update((key, value) for key, value in extra.items() if value not in (None, "", [], ()))
    return _encode(document)


def of_error(error: BaseException, **extra: Any) -> tuple[int, bytes]:
    """Status and document of what a part raised. What it said is told only if meant for the client."""
    if isinstance(error, JourneyError):
        status, slug, title, detail = error.status, error.slug, error.title, error.detail
        extra = {**extra, **error.extra}
        slug, title = extra.pop("slug", slug), extra.pop("title", title)
    elif isinstance(error, TimeoutError):
        status, slug, title, detail = 504, "deadline-exceeded", "A part of the journey took too long", ""
    else:
        status, slug, title = 500, "part-failed", "A part of the journey failed"
        detail = f"{extra['part']} raised {type(error).__name__}" if extra.get("part") else ""
    return status, problem(status, slug, title or HTTPStatus(status).phrase, detail, **extra)


def fields_of(error: BaseException) -> list[tuple[bytes, bytes]]:
    """The header fields that an error asks for: its own, `Retry-After`, and a 401's challenge (RFC 9110, 11.6.1)."""
    if not isinstance(error, JourneyError):
        return []
    found = {
        name.lower(): value
        for name, value in error.headers.items()
        if _NAME.fullmatch(name) and _VALUE.fullmatch(value)
    }
    if error.retry_after is not None and math.isfinite(error.retry_after):
        found.setdefault("retry-after", str(max(1, math.ceil(error.retry_after))))
    if error.status == 401:
        found.setdefault("www-authenticate", "Bearer")
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found.items()]
