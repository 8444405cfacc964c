"""What a balancer on Envoy has besides: a client that stays with its instance, and answers to an ACME authority."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tierline.engines.certificates import CHALLENGE
from tierline.engines.context import Context
from tierline.plan.model import Role

_TYPE = "type.googleapis.com/envoy.extensions."


def sticky(name: str) -> dict[str, Any]:
    """The filter that keeps a client with its instance by a cookie of this name."""
    state = {
        "name": "envoy.http.stateful_session.cookie",
        "typed_config": {
            "@type": _TYPE + "http.stateful_session.cookie.v3.CookieBasedSessionState",
            "cookie": {
                "name": name,
                "path": "/",
                "attributes": [{"name": "HttpOnly"}, {"name": "SameSite", "value": "Lax"}],
            },
        },
    }
    return {
        "name": "envoy.filters.http.stateful_session",
        "typed_config": {
            "@type": _TYPE + "filters.http.stateful_session.v3.StatefulSession",
            "session_state": state,
        },
    }


def challenge(thumbprint: str) -> list[dict[str, Any]]:
    """What an ACME authority asks is answered whatever else the balancer does (RFC 8555, 8.3)."""
    if not thumbprint:
        return []
    pattern = CHALLENGE.replace(".", "%.").replace("-", "%-")
    code = f"""\
function envoy_on_request(handle)
  local token = handle:headers():get(":path"):match("^{pattern}([%w_-]+)$")
  if token then
    handle:respond({{[":status"] = "200", ["content-type"] = "text/plain"}}, token .. ".{thumbprint}")
  end
end
"""
    return [
        {
            "name": "tierline.challenge",
            "typed_config": {
                "@type": _TYPE + "filters.http.lua.v3.Lua",
                "default_source_code": {"inline_string": code},
            },
        }
    ]


def secret_file(role: Role, context: Context) -> Path:
    """Where a certificate is that is renewed while Envoy runs."""
    return context.folder(context.unit_of(role.id)) / f"secret-{role.id}.json"
