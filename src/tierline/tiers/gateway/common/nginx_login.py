"""Browsers' logins for gateway.nginx: what login.js is told, and how it reaches the provider."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from tierline.engines.context import Context
from tierline.engines.nginx import logins
from tierline.engines.nginx.forwarded import said
from tierline.engines.nginx.remote import Remote
from tierline.errors import EngineError
from tierline.plan.model import Role
from tierline.tiers.gateway.common import words
from tierline.tiers.gateway.common.provider import Provider, client_secret, provider, public
from tierline.tiers.gateway.common.routes import login_paths


def told(role: Role, context: Context) -> dict[str, Any] | None:
    """Which requests need a login: a part of `policies`, and no secret."""
    given = role.settings["login"]
    if not given:
        return None
    return {
        "paths": [path.rstrip("/") for path in login_paths(role.settings)],
        "callback": given["callback"],
        "logout": given["logout"],
        "ports": public(context),
    }


def given(role: Role, context: Context) -> tuple[str, str]:
    """login.json, which holds secrets, and the lines of the http block; nothing for a stack without logins."""
    login = role.settings["login"]
    if not login:
        return "", ""
    found = provider(login, context)
    ca = context.project / login["ca"] if login["ca"] else None
    at = {name: Remote.of(_safe(found, name), ca) for name in ("token", "jwks")}
    scheme = said(role, context, "gw")[1].get("X-Forwarded-Proto", "$http_x_forwarded_proto")
    return json.dumps(_secrets(login, found, context), indent=1), logins.http(at["token"], at["jwks"], scheme)


def _safe(found: Provider, name: str) -> str:
    """An endpoint that nobody on the way can change, and that nginx.conf can hold."""
    url = found.endpoints.get(name, f"{found.issuer}/jwks.json")  # of the line's own provider
    if allowed := words.remote(url):
        raise EngineError(f"{found.issuer} says that its {name} endpoint is {url!r}; allowed: {allowed}")
    return url


def _secrets(login: dict[str, Any], found: Provider, context: Context) -> dict[str, Any]:
    # The same in every zone: who logged in at one gateway is known to the next.
    key = hashlib.sha256(f"tierline session {context.secret('login.hmac')}".encode()).digest()
    return {
        "issuer": found.issuer,
        "client_id": login["client_id"],
        "client_secret": client_secret(login, context),
        "cookies": base64.urlsafe_b64encode(key).rstrip(b"=").decode(),
        "authorization": found.endpoints["authorization"],
        "end_session": found.endpoints.get("end_session", ""),
        "scope": " ".join(["openid", *login["scopes"]]),
        "post": found.post,
        "refresh": login["refresh"],
        "socket": logins.SOCKET,
    }
