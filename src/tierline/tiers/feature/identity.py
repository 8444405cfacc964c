"""feature.identity: the line's own OpenID provider, for `OIDC(issuer="local")`."""

from __future__ import annotations

from tierline.tiers.base import System


class LocalIdentity(System):
    title = "tierline identity"
    engine = "identity"
    levels = frozenset({"runs"})
    endpoints = {"http": "http"}
