"""Fields of one connection (RFC 9110, 7.6.1): what ends at every hop, and what `Connection` can't end.

A proxy takes out the fields that a message's `Connection` names. A client could name what it isn't meant to reach: the
address that the line writes, the trace, the length that frames the body. RFC 9110 forbids to name a field that is meant
for all recipients, so such names are passed over, in every engine alike.
"""

from __future__ import annotations

FIELDS = ("Keep-Alive", "Proxy-Connection")
"""Fields of one connection whether `Connection` names them or not; engines handle Connection, TE, Upgrade and
Transfer-Encoding themselves."""

KEPT = frozenset({
    # Options and fields that the engines handle themselves.
    "close", "keep-alive", "upgrade", "te", "transfer-encoding", "connection", "http2-settings",
    # What frames, addresses and describes the message.
    "host", "content-length", "content-type", "content-encoding", "content-range", "date", "expect", "trailer",
    # What policies, caches and applications decide by.
    "authorization", "cookie", "set-cookie", "cache-control", "vary", "etag", "expires", "age", "last-modified", "origin",
    "location", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since",
    # What the line says of a request.
    "via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "traceparent",
    "tracestate", "x-request-id", "x-client",
})  # fmt: skip
"""In lower case; not removed by naming them in `Connection`, and neither is what begins with `x-tierline-`."""

ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""What a tier says with a 405 of its own, to PURGE or TRACE (RFC 9110, 15.5.6): each service knows the rest."""
