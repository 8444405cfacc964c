"""The one ordered list of Envoy's HTTP filters, with the reason for each place."""

from __future__ import annotations

from typing import Any

ORDER = (
    # A browser's preflight carries no token: it must be answered before anybody asks for one.
    "envoy.filters.http.cors",
    # Cheap and independent of who calls: too big is refused before it is read any further.
    "envoy.filters.http.buffer",
    # Before authentication, so that a flood of bad tokens costs no signature checks.
    "envoy.filters.http.local_ratelimit",
    # Later filters may look at the claims.
    "envoy.filters.http.jwt_authn",
    # Who may do it, once it is known who asks.
    "envoy.filters.http.rbac",
    # Last of ours: what goes out may be compressed whatever produced it.
    "envoy.filters.http.compressor",
)


def ordered(filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The filters in their order, the stack's raw ones before the router, the router last."""
    known = sorted((f for f in filters if f["name"] in ORDER), key=lambda f: ORDER.index(f["name"]))
    raw = [f for f in filters if f["name"] not in ORDER]
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }
    return [*known, *raw, router]
