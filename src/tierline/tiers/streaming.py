"""What every tier of the request path has to pass on as it comes. Each system says which of it it does."""

from __future__ import annotations

from collections.abc import Mapping

STREAMING: Mapping[str, str] = {
    "streams": "answers go on as they come: event streams, NDJSON, streamed HTML",
    "uploads": "bodies of requests go on as they come",
    "disconnects": "the service learns within a second that its client has left",
    "early_hints": "interim answers (103, RFC 8297) go on",
    "trailers": "trailers of answers go on, such as gRPC's status; no copy has them",
    "request_trailers": "trailers of a request go on or are dropped, and the connection goes on",
}
"""Features by name, as `<tier>/tier.py` has them."""


def passing(by: str) -> dict[str, str]:
    """That an intent asks for all of it, whatever its fields say."""
    return dict.fromkeys(STREAMING, by)
