"""API gateway: who may call what, how often, and where it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from tierline.intent import Duration, Intent, Size, setting
from tierline.tiers.gateway.common.auth import JWT, MTLS, OIDC, APIKeys, Auth, Quota
from tierline.tiers.gateway.common.policies import Access, Canary, Mirror, RateLimit, Route, Version
from tierline.tiers.gateway.common.words import headers, plain_path
from tierline.tiers.streaming import STREAMING, passing

__all__ = [
    "JWT", "MTLS", "OIDC", "APIKeys", "Access", "Auth", "Canary", "Gateway", "Mirror", "Quota", "RateLimit", "Route", "Version",
]  # fmt: skip

FEATURES: Mapping[str, str] = {
    "routing": "exact paths, templates and prefixes, the most specific first",
    "route_host": "routes by host name",
    "route_method": "routes by method",
    "route_header": "routes by header",
    "paths_as_sent": "paths in spellings of their own pass, and policies hold for each of them",
    "rewrite": "the path's prefix replaced on the way",
    "transform_headers": "request and response headers set and removed",
    "transform_body": "JSON bodies of requests and responses shaped by templates",
    "versions": "API versions side by side, by path or header",
    "deprecation": "Deprecation (RFC 9745), Sunset (RFC 8594) and Link on old versions",
    "canary_weight": "a percentage of the requests for another service",
    "canary_header": "requests with a header for another service",
    "mirror": "a copy of the requests for another service",
    "timeouts": "504 after a deadline",
    "retries": "another try when a connection fails, never of what an instance has seen",
    "retry_budget": "retries bounded by a percentage of the requests under way",
    "backup_zone": "the other zones' instances take over when the own zone has none",
    "circuit_breaking": "at most so many requests at once per service",
    "body_limit": "413 for a body that is too large",
    "jwt": "signed tokens checked: signature, issuer, audience, expiry",
    "jwks_reload": "changed keys apply without a restart",
    "jwks_url": "the issuer's keys fetched from a URL, and again while it runs",
    "jwt_algorithms": "only the algorithms that the stack allows, a key's own by its `alg`",
    "login": "browsers log in with OpenID Connect (code with PKCE) and out again; others get 401",
    "mtls": "consumers known by a client certificate, on a listener of the gateway's own",
    "mtls_san": "their certificates' alternative names (DNS, URI) beside the common name",
    "api_keys": "consumers known by a key",
    "quotas": "requests per interval by the consumer's plan",
    "rate_limit_all": "a limit for everybody together",
    "rate_limit_client": "a limit per client address",
    "rate_limit_consumer": "a limit per API key or token subject",
    "burst": "more at once than the rate, when saved up before",
    "shared_limits": "limits and quotas hold for the line: the gateways of all zones count together",
    "rate_limit_headers": "RateLimit fields on what is limited, Retry-After on 429",
    "access_claims": "403 unless the token carries a claim",
    "access_scopes": "403 unless the token carries a scope",
    "access_addresses": "403 unless the client is in a network",
    "cors": "preflights answered, origins checked",
    "problem_documents": "a problem document (RFC 9457) for each refusal",
    "raw": "configuration of the engine's own, checked by it",
    "websocket": "upgraded connections, for whom the policies let in",
    "trace_context": "traceparent passed on, one hop per request",
    "live_upstreams": "instances come, go and drain without a failed request",
    "openapi": "the OpenAPI 3.1 document of what is exposed, at a path of its own",
    "caller_log": "who asked, by which route, and which policy refused, in the hop",
    "caller_metrics": "requests counted by route and consumer",
    "metrics": "counts per service in Prometheus format, on a socket of the unit's own",
    **STREAMING,
}
"""Every feature of a gateway, by name: what `supports`, `lacks` and the contract suite speak of."""


class Gateway(Intent):
    """The single door to the services: routes, authenticates, limits, transforms."""

    between_zones: ClassVar[frozenset[str]] = frozenset({"shared_limits"})

    auth: JWT | None = setting("How callers prove who they are.", default=None)
    keys: APIKeys | None = setting("API keys of consumers, with quotas.", default=None)
    limits: tuple[RateLimit, ...] = setting("Rate limits, all of which must allow a request.", default=())
    access: tuple[Access, ...] = setting("Who may call what, all of which must allow it.", default=())
    routes: tuple[Route, ...] = setting(
        "Routes beside those that journeys and services' `expose` make.", default=()
    )
    versions: tuple[Version, ...] = setting("Versions of the API, the oldest first.", default=())
    version_by: Literal["path", "header"] = setting(
        "Where a request says its version: `/v1/…`, or a header.", default="path"
    )
    version_header: str = setting("The header, with `version_by='header'`.", default="api-version")
    timeout: Duration = setting(
        "Time until an answer begins, once the request was sent; then 504.", default="60s", above=0.001
    )
    idle_timeout: Duration = setting(
        "Silence in both directions after which an answer, an event stream or a WebSocket ends.",
        default="1h",
        above=0.1,
    )
    max_duration: Duration | None = setting(
        "Time for a request and its whole answer; default: no limit.", default=None, above=0.1
    )
    retries: int = setting(
        "Tries again on a connection failure, safe methods on 503 too.", default=2, above=0, below=5
    )
    retry_budget: int | None = setting(
        "Retries at once, as a percentage of requests under way; default: no bound.",
        default=None,
        above=1,
        below=100,
    )
    paths: Literal["safe", "as_sent"] = setting(
        "Paths that servers read in different ways (`//`, `;`, an encoded `/`, encoded letters): refused with 400, or "
        "`as_sent`: passed on as they are, with policies that hold for each way to write a path.",
        default="safe",
    )
    concurrency: int | None = setting(
        "Requests at once per service; more are refused with 503.", default=None, above=1
    )
    max_body: Size = setting("Largest request body; then 413.", default="32MiB")
    max_url: Size = setting(
        "Longest request line: method, path with query, and version; then 414.",
        default="8KiB",
        above=256,
        below=64 << 10,
    )
    max_headers: Size = setting(
        "Request fields in all; then 431.", default="32KiB", above=1024, below=64 << 10
    )
    max_response_headers: Size = setting(
        "An answer's fields in all; then 502.", default="32KiB", above=1024, below=64 << 10
    )
    cors: tuple[str, ...] = setting("Origins that browsers may call from.", default=())
    mtls: MTLS | None = setting(
        "Consumers with a client certificate, on a listener of their own.", default=None
    )
    login: OIDC | None = setting("How browsers log in.", default=None)
    request: dict[str, str | None] = setting("Request headers to set, or to remove (None).", factory=dict)
    response: dict[str, str | None] = setting("Response headers to set, or to remove (None).", factory=dict)
    openapi: str | None = setting(
        "Path at which the OpenAPI document of what is exposed is served, such as `/openapi.json`; default: it isn't.",
        default=None,
        allowed=plain_path,
    )
    raw: str | None = setting(
        "Engine configuration added as it is (Envoy: a JSON list of HTTP filters; HAProxy: into the frontend; "
        "nginx: into the server block).",
        default=None,
    )

    def check(self) -> None:
        for field in ("request", "response"):
            if allowed := headers(getattr(self, field)):
                raise self.wrong(field, getattr(self, field), allowed)
        for access in self.access:
            if (access.claims or access.scopes) and self.auth is None and self.login is None:
                raise access.wrong(
                    "claims", access.claims, "addresses only: the gateway has neither auth nor login"
                )
        for limit in self.limits:
            if limit.by == "consumer" and not (self.auth or self.keys or self.login or self.mtls):
                raise limit.wrong(
                    "by", "consumer", "all or client: the gateway knows nobody by keys, auth, login or mtls"
                )

    def calls(self) -> set[str]:
        """Names of the services that its routes and versions send requests to, exposed or not."""
        found = {name for version in self.versions for name in version.services.values()}
        for route in self.routes:
            found |= {each.to for each in (route, route.canary, route.mirror) if each and each.to}
        return found

    def features(self) -> dict[str, str]:
        """What this intent asks of its system, by feature, with the field that asks for it."""
        asked = {
            "routing": "Gateway()",
            "timeouts": "timeout=",
            "body_limit": "max_body=",
            "problem_documents": "Gateway()",
            "trace_context": "Gateway()",
            **passing("Gateway()"),
        }
        for feature, field, wanted in (
            ("paths_as_sent", 'paths="as_sent"', self.paths == "as_sent"),
            ("retries", "retries=", self.retries),
            ("retry_budget", "retry_budget=", self.retry_budget),
            ("circuit_breaking", "concurrency=", self.concurrency),
            ("jwt", "auth=JWT()", self.auth),
            ("jwt_algorithms", "auth=JWT()", self.auth),
            ("jwks_url", "JWT(jwks=)", self.auth and self.auth.remote),
            ("login", "login=OIDC()", self.login),
            ("mtls", "mtls=MTLS()", self.mtls),
            ("mtls_san", "MTLS(consumers=)", self.mtls and self.mtls.alternative),
            ("api_keys", "keys=APIKeys()", self.keys),
            ("quotas", "APIKeys(plans=)", self.keys and self.keys.plans),
            ("cors", "cors=", self.cors),
            ("openapi", "openapi=", self.openapi),
            ("versions", "versions=", self.versions),
            ("deprecation", "Version(deprecated=)", [v for v in self.versions if v.deprecated or v.sunset]),
            ("transform_headers", "request= or response=", self.request or self.response),
            ("shared_limits", "limits= or plans=", self.limits or (self.keys and self.keys.plans)),
            ("rate_limit_headers", "limits=", self.limits),
            ("burst", "RateLimit(burst=)", [limit for limit in self.limits if limit.burst]),
        ):
            if wanted:
                asked[feature] = field
        for limit in self.limits:
            asked[f"rate_limit_{limit.by}"] = f"RateLimit(by={limit.by!r})"
        for access in self.access:
            for kind in ("claims", "scopes", "addresses"):
                if getattr(access, kind):
                    asked[f"access_{kind}"] = f"Access({kind}=)"
        for route in self.routes:
            asked.update(_route_features(route))
        return asked


def _route_features(route: Route) -> dict[str, str]:
    canary = route.canary
    wanted = (
        ("route_host", "Route(hosts=)", route.hosts),
        ("route_method", "Route(methods=)", route.methods),
        ("route_header", "Route(headers=)", route.headers),
        ("rewrite", "Route(rewrite=)", route.rewrite),
        ("transform_headers", "Route(request= or response=)", route.request or route.response),
        (
            "transform_body",
            "Route(request_body= or response_body=)",
            route.request_body is not None or route.response_body is not None,
        ),
        ("canary_weight", "Canary(weight=)", canary and canary.weight),
        ("canary_header", "Canary(header=)", canary and canary.header),
        ("mirror", "Route(mirror=)", route.mirror),
    )
    return {feature: field for feature, field, given in wanted if given}
