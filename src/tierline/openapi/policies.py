"""What a gateway's policies mean for one operation: what it needs, how often it may be called, how it is refused."""

from __future__ import annotations

import re
from typing import Any

from tierline.tiers.gateway.common.routes import lifetime, login_paths, token_paths, under

_PROBLEM = {"$ref": "#/components/responses/Refused"}
_LIMITS = {
    "ratelimit-limit": {"description": "Requests in the interval", "schema": {"type": "string"}},
    "ratelimit-remaining": {"description": "Requests left", "schema": {"type": "string"}},
    "ratelimit-reset": {"description": "Seconds until there are more", "schema": {"type": "string"}},
    "retry-after": {"description": "Seconds to wait", "schema": {"type": "string"}},
}
TRACE_ID = {
    "description": "The trace (W3C Trace Context) that the request is a part of, as `tierline trip` names it.",
    "type": "string",
    "pattern": "^[0-9a-f]{32}$",
}
PROBLEM = {
    "title": "Refusal",
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "trace_id": TRACE_ID,
    },
    "required": ["type", "title", "status"],
}


class Policies:
    """A gateway's settings, asked about paths and methods."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._needs: dict[str, re.Pattern[str]] = {}
        if settings["auth"]:
            self._add("token", token_paths(settings))
        if settings["login"]:
            self._add("login", login_paths(settings))
        if settings["mtls"]:
            self._add("certificate", settings["mtls"]["paths"])
        if settings["keys"]:
            self._add("key", settings["keys"]["paths"])
        self._access = [(re.compile(under(rule["paths"], settings)), rule) for rule in settings["access"]]
        self._limits = [
            (re.compile(under(limit["paths"], settings) if limit["paths"] else ".*"), limit)
            for limit in settings["limits"]
        ]

    def _add(self, scheme: str, paths: list[str]) -> None:
        self._needs[scheme] = re.compile(under(paths, self._settings))

    def schemes(self) -> dict[str, Any]:
        """`components/securitySchemes`."""
        auth, login, keys = (self._settings[name] for name in ("auth", "login", "keys"))
        found: dict[str, Any] = {}
        if auth:
            about = f"A token of {auth['issuer']} for {auth['audience']}, signed with {' or '.join(auth['algorithms'])}."
            found["token"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": about}
        if login and login["issuer"] != "local":
            url = f"{login['issuer'].rstrip('/')}/.well-known/openid-configuration"
            found["login"] = {"type": "openIdConnect", "openIdConnectUrl": url}
        elif login:
            about = "The session of a browser that has logged in."
            found["login"] = {"type": "apiKey", "in": "cookie", "name": "tierline-id", "description": about}
        if self._settings["mtls"]:
            found["certificate"] = {
                "type": "mutualTLS",
                "description": "On the gateway's listener for certificates.",
            }
        if keys:
            found["key"] = {"type": "apiKey", "in": "header", "name": keys["header"]}
        return found

    def components(self) -> dict[str, Any]:
        """Responses and schemas that operations refer to."""
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
        return {
            "schemas": {"Refusal": PROBLEM},
            "responses": {
                "Refused": {"description": "Refused by the gateway", "content": content},
                "TooMany": {"description": "Too many requests", "headers": _LIMITS, "content": content},
            },
            "securitySchemes": self.schemes(),
        }

    def apply(
        self, operation: dict[str, Any], path: str, method: str, version: dict[str, Any] | None
    ) -> None:
        """Add to an operation what the gateway does with it."""
        plain = re.sub(r"\{[^}]*\}", "x", path)
        responses = operation.setdefault("responses", {})
        needs: dict[str, list[str]] = {
            scheme: [] for scheme, match in self._needs.items() if match.fullmatch(plain)
        }
        rules = [
            rule
            for match, rule in self._access
            if match.fullmatch(plain) and (not rule["methods"] or method in rule["methods"])
        ]
        scopes = [scope for rule in rules for scope in rule["scopes"]]
        if needs:
            # A token or a login, whichever is there; a key beside either.
            who = [name for name in ("token", "login") if name in needs]
            rest: dict[str, list[str]] = {name: [] for name in needs if name not in who}
            operation["security"] = [
                {name: list(dict.fromkeys(scopes)) if name == "token" else [], **rest} for name in who
            ] or [rest]
            responses.setdefault("401", _PROBLEM)
        if rules:
            responses.setdefault("403", _PROBLEM)
            claims = {name: value for rule in rules for name, value in rule["claims"].items()}
            if claims:
                operation["x-tierline-claims"] = claims
        limits = [limit for match, limit in self._limits if match.fullmatch(plain)]
        if limits:
            operation["x-tierline-limits"] = [
                {"requests": each["requests"], "seconds": each["per"], "by": each["by"]} for each in limits
            ]
        plans = (self._settings["keys"] or {}).get("plans")
        if limits or (plans and "key" in needs):
            responses.setdefault("429", {"$ref": "#/components/responses/TooMany"})
        if method in ("POST", "PUT", "PATCH"):
            responses.setdefault("413", _PROBLEM)
        for status in ("503", "504"):
            responses.setdefault(status, _PROBLEM)
        if version and (told := lifetime(version)):
            operation["deprecated"] = bool(version["deprecated"]) or operation.get("deprecated", False)
            operation["x-tierline-lifetime"] = told
        if version and self._settings["version_by"] == "header":
            self._ask_version(operation)

    def _ask_version(self, operation: dict[str, Any]) -> None:
        names = [version["name"] for version in self._settings["versions"]]
        header = self._settings["version_header"]
        asked = {
            "name": header,
            "in": "header",
            "required": False,
            "schema": {"enum": names, "default": names[-1]},
        }
        given = operation.setdefault("parameters", [])
        if not any(each.get("name") == header and each.get("in") == "header" for each in given):
            given.append(asked)
