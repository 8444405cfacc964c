"""Browsers' logins with Envoy's oauth2 filter: the authorization code flow with PKCE, the session in cookies.

The filter keeps the tokens in encrypted cookies of its own and hands the ID token to jwt_authn in a header that no
client can set; so who is logged in is known in the same way as who comes with a token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tierline.engines.envoy.callers import elsewhere
from tierline.engines.envoy.listeners import watched

_OAUTH2 = "type.googleapis.com/envoy.extensions.filters.http.oauth2.v3.OAuth2"
FILTER = "envoy.filters.http.oauth2"
ID_TOKEN = "x-tierline-id-token"  # noqa: S105  a header's name
"""From the login to the token check, and no further."""
_COOKIES = {
    "bearer_token": "tierline-access",
    "oauth_hmac": "tierline-hmac",
    "oauth_expires": "tierline-expires",
    "id_token": "tierline-id",
    "refresh_token": "tierline-refresh",
    "oauth_nonce": "tierline-nonce",
    "code_verifier": "tierline-verifier",
}
PROVIDER = "tierline.login"
"""The cluster of the token endpoint."""


def filter(login: dict[str, Any], endpoints: dict[str, str], folder: Path, match: str) -> dict[str, Any]:
    """The filter, for paths that `match`, a regular expression over whole paths.

    login: the intent's fields. endpoints: `authorization`, `token` and perhaps `end_session`, as URLs.
    """
    html = {"name": "accept", "string_match": {"contains": "text/html"}}
    reads = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    config: dict[str, Any] = {
        "token_endpoint": {"cluster": PROVIDER, "uri": endpoints["token"], "timeout": "5s"},
        "authorization_endpoint": endpoints["authorization"],
        "credentials": {
            "client_id": login["client_id"],
            "token_secret": _secret("login-token", folder),
            "hmac_secret": _secret("login-hmac", folder),
            "cookie_names": _COOKIES,
        },
        "redirect_uri": f"%REQ({_ORIGIN})%{login['callback']}",
        # Envoy puts the path behind it.
        "original_request_uri": f"%REQ({_ORIGIN})%",
        "redirect_path_matcher": {"path": {"exact": login["callback"]}},
        "signout_path": {"path": {"exact": login["logout"]}},
        # An API client with a token is none of this filter's business.
        "pass_through_matcher": [
            {"name": "authorization", "string_match": {"prefix": "Bearer ", "ignore_case": True}}
        ],
        # Only a browser that reads a page can be sent to another one: scripts, and what carries a body, get 401.
        "deny_redirect_matcher": [
            {**html, "invert_match": True, "treat_missing_header_as_empty": True},
            {**reads, "invert_match": True},
        ],
        "auth_scopes": ["openid", *login["scopes"]],
        "auth_type": "BASIC_AUTH",
        "forward_id_token": {"header": ID_TOKEN},
        "use_refresh_token": True,
        "default_expires_in": "3600s",
        "cookie_configs": {f"{name}_cookie_config": {"same_site": "LAX", "path": "/"} for name in _COOKIES},
        "stat_prefix": "login",
    }
    if endpoints.get("end_session"):
        config["end_session_endpoint"] = endpoints["end_session"]
        config["post_logout_redirect_uri"] = {"uri": f"%REQ({_ORIGIN})%/"}
    return elsewhere(FILTER, {"@type": _OAUTH2, "config": config}, match)


def origin(ports: dict[str, int], match: str) -> dict[str, Any]:
    """Says where a browser reaches the line. Tiers in front may leave the port out of Host (nginx's `$host`); then
    it is the line's own, by scheme."""
    listed = ", ".join(f'{scheme} = ":{port}"' for scheme, port in ports.items())
    code = {"default_source_code": {"inline_string": _PROGRAM.replace("PORTS", listed)}}
    kind = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
    return {**elsewhere("envoy.filters.http.lua", {"@type": kind, **code}, match), "name": "tierline.origin"}


_ORIGIN = "x-tierline-origin"
_PROGRAM = """\
local ports = { PORTS }
local usual = { http = ":80", https = ":443" }
function envoy_on_request(handle)
  local headers = handle:headers()
  local scheme, host = headers:get("x-forwarded-proto") or "https", headers:get(":authority") or ""
  local port = ports[scheme]
  if port ~= nil and port ~= usual[scheme] and not host:match(":%d+$") then host = host .. port end
  headers:replace("x-tierline-origin", scheme .. "://" .. host)
end
"""


def secrets(folder: Path, token: str, hmac: str) -> dict[str, list[dict[str, Any]]]:
    """Files of secrets (Envoy's SDS), watched like every other file: the filter takes a changed one at once."""
    return {
        str(secret_file(folder, name)): [
            {"name": name, "generic_secret": {"secret": {"inline_string": value}}}
        ]
        for name, value in (("login-token", token), ("login-hmac", hmac))
    }


def secret_file(folder: Path, name: str) -> Path:
    return folder / f"secret-{name}.json"


def _secret(name: str, folder: Path) -> dict[str, Any]:
    return {"name": name, "sds_config": watched(secret_file(folder, name))}
