"""API gateway: who may call what, how often, and where it goes."""

from __future__ import annotations

from typing import ClassVar, Literal

from tierline.intent import Duration, Intent, Size, setting


class Auth(Intent):
    """Base of the ways to authenticate."""

    kind: ClassVar[str] = ""


def _paths(value: str) -> str | None:
    return None if value.startswith("/") else "paths that begin with /"


class JWT(Auth):
    """Signed tokens (RFC 7519) in the Authorization header.

    Without `jwks` the line makes an ES256 key of its own on first use; a service that names the gateway's
    auth in `uses` receives it to sign with (`JWT_SIGNING_KEY_FILE`), and `tierline token` signs for you.
    """

    kind = "jwt"
    issuer: str = setting("The `iss` that a token must carry.")
    audience: str = setting("The `aud` that a token must carry.")
    paths: tuple[str, ...] = setting("Path prefixes that need a token.", allowed=_paths)
    jwks: str | None = setting("File with the issuer's keys (RFC 7517); default: a local key.", default=None)
    clock_skew: Duration = setting("Tolerance for `exp` and `nbf`.", default="60s")
    name: str = setting("What a service's `uses` calls it.", default="auth")


class RateLimit(Intent):
    """At most `requests` in `per`, with bursts."""

    requests: int = setting("Requests allowed in each interval.", above=1)
    per: Duration = setting("The interval.", default="1s", above=0.05)
    by: Literal["all", "client"] = setting(
        "Counted for everybody together or per client address.", default="client"
    )
    burst: int | None = setting("Tokens that may be saved up; default: `requests`.", default=None)
    paths: tuple[str, ...] = setting("Path prefixes; default: every path.", default=(), allowed=_paths)


class Gateway(Intent):
    """The single door to the services: routes, authenticates, limits."""

    auth: JWT | None = setting("How callers prove who they are.", default=None)
    limits: tuple[RateLimit, ...] = setting("Rate limits, all of which must allow a request.", default=())
    timeout: Duration = setting("A request's deadline behind the gateway.", default="15s")
    retries: int = setting(
        "Tries again on a connection failure, safe methods on 503 too.", default=2, above=0, below=5
    )
    max_body: Size = setting("Largest request body.", default="4MiB")
    cors: tuple[str, ...] = setting("Origins that browsers may call from.", default=())
    raw: str | None = setting("HTTP filters (YAML or JSON list) added before the router.", default=None)

    def features(self) -> dict[str, str]:
        """What this intent asks of its system, by feature, with the field that asks for it."""
        asked = {"routing": "Gateway()", "timeouts": "timeout=", "body_limit": "max_body="}
        if self.auth is not None:
            asked["jwt"] = "auth=JWT()"
        for limit in self.limits:
            asked[f"rate_limit_{limit.by}"] = f"RateLimit(by={limit.by!r})"
        if self.cors:
            asked["cors"] = "cors="
        return asked
