"""The one ordered list of Envoy's HTTP filters, with the reason for each place."""

from __future__ import annotations

from typing import Any

ORDER = (
    # Who isn't a place of the CDN has nothing to do at their endpoint.
    "tierline.places",
    # A request that comes without a trace begins one before anything can refuse it; what is malformed meets no other.
    "tierline.connection",
    # A certificate authority's question carries no token either, and knows no host.
    "tierline.challenge",
    # Of requests that skip the way to a gateway of the same process: what refuses them reports as the gateway.
    "tierline.merged",
    # What was behind a login or a key must not be kept by those in front.
    "tierline.private",
    # A browser's preflight carries no token: it must be answered before anybody asks for one.
    "envoy.filters.http.cors",
    # Turns what the limits count into the standard's words: responses pass it after the limits.
    "tierline.limit_headers",
    # Who may come at all, by address: costs next to nothing.
    "tierline.addresses",
    # Before authentication, so that a flood of bad tokens costs no signature checks.
    "tierline.limits",
    # Cheap and independent of who calls: too big is refused before it is read any further.
    "envoy.filters.http.buffer",
    # Later filters may look at who it is.
    "tierline.certificates",
    "tierline.certified",
    "envoy.filters.http.api_key_auth",
    # Where the browser is, which it will be sent back to.
    "tierline.origin",
    # A browser's session becomes a token before tokens are looked at.
    "envoy.filters.http.oauth2",
    "envoy.filters.http.jwt_authn",
    # What kind of signature is good enough.
    "tierline.algorithms",
    # Who may do it, once it is known who asks.
    "envoy.filters.http.rbac",
    # What an identified caller may still do today.
    "tierline.quotas",
    # Which instance a client was with before.
    "envoy.filters.http.stateful_session",
    # What goes out may be compressed whatever produced it.
    "envoy.filters.http.compressor",
    # Last of ours: the first to see an answer, and the body of nobody who is refused.
    "tierline.bodies",
)

LIVE = frozenset(
    {
        "envoy.filters.http.api_key_auth",
        "envoy.filters.http.jwt_authn",
        "envoy.filters.http.oauth2",
        "envoy.filters.http.rbac",
        "tierline.addresses",
        "tierline.algorithms",
        "tierline.certificates",
        "tierline.certified",
        "tierline.limits",
        "tierline.quotas",
    }
)
"""Policies: each in a watched file of its own, so that a key or a limit changes without a new listener."""


def rank(name: str) -> int:
    """A filter's place; `tierline.limits.2` stands with `tierline.limits`, the stack's own before the router."""
    stem = name.rstrip("0123456789").rstrip(".") if name.startswith("tierline.") else name
    return ORDER.index(stem) if stem in ORDER else len(ORDER)


def live(name: str) -> bool:
    """Whether a filter's configuration is a watched file."""
    return name.rstrip("0123456789").rstrip(".") in LIVE


def ordered(filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The filters in their order, the stack's raw ones before the router, the router last."""
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
        },
    }
    return [*sorted(filters, key=lambda each: rank(each["name"])), router]
