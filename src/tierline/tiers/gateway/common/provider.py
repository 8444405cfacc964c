"""Who logs browsers in: the OpenID provider of a stack's `OIDC(…)`, its endpoints, and the line's secrets for it."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from tierline.engines.context import Context
from tierline.engines.identity.engine import CLIENT
from tierline.errors import EngineError


class Provider(msgspec.Struct, frozen=True):
    """A provider, as far as a gateway needs to know it."""

    issuer: str
    endpoints: dict[str, str]
    """`authorization`, `token` and perhaps `end_session`; `jwks` of one that isn't the line's own."""
    post: bool = True
    """Whether it takes the client's secret in the form, not in Authorization alone (RFC 6749, section 2.3.1)."""


def provider(login: dict[str, Any], context: Context) -> Provider:
    """The provider of a login. Raises EngineError when its description is of none, RunError when there is none."""
    if login["issuer"] != "local":
        return _discovered(login["issuer"], login, context)
    host, port = context.address("identity", "http")
    issuer = f"http://{host}:{port}"
    paths = {"authorization": "authorize", "token": "token", "end_session": "logout"}
    return Provider(issuer, {name: f"{issuer}/{path}" for name, path in paths.items()})


def client_secret(login: dict[str, Any], context: Context) -> str:
    """What the provider knows the line by."""
    given = login["client_secret"]
    return (context.project / given).read_text().strip() if given else context.secret(CLIENT)


def _discovered(issuer: str, given: dict[str, Any], context: Context) -> Provider:
    """A provider as it describes itself (OpenID Connect Discovery 1.0, section 4)."""
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    said = msgspec.json.decode(context.document(url, given["ca"], given["refresh"]))
    if said.get("issuer") != issuer:
        raise EngineError(
            f"{url} describes {said.get('issuer')!r}, not {issuer!r}: write the issuer as the provider does"
        )
    found = {}
    for name, field, must in (
        ("authorization", "authorization_endpoint", True), ("token", "token_endpoint", True),
        ("jwks", "jwks_uri", True), ("end_session", "end_session_endpoint", False),
    ):  # fmt: skip
        value = said.get(field)
        if isinstance(value, str):
            found[name] = value
        elif must:
            raise EngineError(f"{url} has no {field}: it is no OpenID provider's description")
    post = "client_secret_post" in (said.get("token_endpoint_auth_methods_supported") or ())
    return Provider(issuer, found, post)


def public(context: Context) -> dict[str, int]:
    """The ports that browsers reach the line at, by scheme."""
    found = {}
    for role in context.plan.entry:
        for scheme in ("http", "https"):
            with contextlib.suppress(KeyError):
                found[scheme] = context.address(role, scheme)[1]
    return found
