"""Fields of an answer that are about who asked: what a cache keeps must be served to the next one without them.

A cache keeps all fields of an answer (RFC 9111, 3.1), and "three requests left" would be told to everybody. The two
caches with scripts of their own name them there: engines/nginx/cache.js, engines/trafficserver/cache.lua.
"""

from __future__ import annotations

FIELDS = (
    "ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
    "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-tierline-policy",
)  # fmt: skip
"""Those of every answer."""

OF_SUCCESS = ("retry-after",)
"""Those of an answer with 2xx: of a 503 that is kept, Retry-After is the service's own word to everybody."""
