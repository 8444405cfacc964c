"""lb.envoy: TLS, HTTP/2 and HTTP/3, health checks and zone-aware balancing on Envoy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tierline.engines.certificates import shown
from tierline.engines.context import Context
from tierline.engines.envoy import budget, extras, raw, tls
from tierline.engines.envoy.budget import unheld as limits_unheld
from tierline.engines.envoy.clusters import cluster, targets, thresholds
from tierline.engines.envoy.listeners import Bind, Fragment
from tierline.engines.envoy.mail import mail
from tierline.engines.envoy.replies import problems
from tierline.engines.envoy.routing import matching, retry
from tierline.engines.unkeyed import UNKEYED
from tierline.plan.budgets import find, held
from tierline.plan.bypass import rules
from tierline.plan.model import Budget, Role, Upstream
from tierline.tiers.base import Protocol, System
from tierline.tiers.lb.tier import FEATURES, MAIL, NO_STARTTLS, health

_TYPE = "type.googleapis.com/envoy.extensions."
_POLICY = {"round_robin": "ROUND_ROBIN", "least_request": "LEAST_REQUEST", "consistent_hash": "RING_HASH"}


class EnvoyLB(System):
    title = "Envoy"
    engine = "envoy"
    measures = True
    around = True
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - {"mail_starttls", "queue_timeout"}
    lacks = {
        "wire-http10": "Envoy answers HTTP/1.0 with 426: if it took it, it would take HTTP/3.1 for it, and chunks in it",
        "wire-max-forwards": "Envoy passes Max-Forwards on as it came",
        "wire-answer-switch-unasked": "Envoy passes on a 101 that nobody asked for, and ends the connection",
        "wire-h2-answer-switch-unasked": "over HTTP/2 Envoy passes on a 101 as an interim answer, and ends the stream",
        "mail_starttls": NO_STARTTLS,
        "queue_timeout": "Envoy bounds how many requests wait, not for how long; use lb=haproxy",
    }
    listens_for_places = True
    endpoints = {"http": "http", "https": "https"}

    def listens(self, settings: Mapping[str, Any]) -> Mapping[str, Protocol]:
        return {**self.endpoints, **MAIL} if settings["mail"] else self.endpoints

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        return limits_unheld(budget)

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings = role.settings
        name = next(iter(role.upstreams))
        cert = shown(role, context)
        secret = extras.secret_file(role, context) if cert.thumbprint else None
        mails, inboxes = mail(role, context, cert.chain, cert.key, secret) if settings["mail"] else ([], [])
        own = held(context.plan, role)
        return Fragment(
            role=role,
            filters=[*extras.challenge(cert.thumbprint), *_filters(settings, role)],
            virtual_hosts=_hosts(role, context, name),
            clusters=[_cluster(name, role.upstreams[name], role, context), *_bypass(role, context), *inboxes],
            manager=_manager(settings),
            binds=_binds(role, context),
            local_reply=problems(own, find(context.plan, "default")),
            owns=bool(own.settings),
            sections=mails,
            certificates={str(secret): tls.secret(cert.pem)} if secret else {},
            # What would end at the cache ends here, whichever way a request goes.
            stripped=tuple(each.lower() for each in UNKEYED) if rules(role) else (),
            passes=_passes(role, name) if _nearest(settings) else {},
        )


def _nearest(settings: dict[str, Any]) -> bool:
    """Whether all requests go to the own zone's next tier as long as it lives, and as many as come."""
    chosen = settings["balance"] == "consistent_hash" or settings["weights"] or settings["sticky"]
    return settings["zone_aware"] and not (chosen or settings["per_instance"] or settings["raw"])


def _passes(role: Role, name: str) -> dict[str, Sequence[Upstream]]:
    found: dict[str, Sequence[Upstream]] = {name: role.upstreams[name]}
    return {**found, "bypass": role.upstreams["gateway"]} if rules(role) else found


def _binds(role: Role, context: Context) -> list[Bind]:
    settings = role.settings
    cert = shown(role, context)
    secret = extras.secret_file(role, context) if cert.thumbprint else None
    proxied: list[dict[str, Any]] = []
    if settings["proxy_protocol"]:
        kind = _TYPE + "filters.listener.proxy_protocol.v3.ProxyProtocol"
        proxied = [{"name": "envoy.filters.listener.proxy_protocol", "typed_config": {"@type": kind}}]
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": _TYPE + "filters.listener.tls_inspector.v3.TlsInspector"},
    }
    limit = {
        "name": "envoy.filters.network.connection_limit",
        "typed_config": {
            "@type": _TYPE + "filters.network.connection_limit.v3.ConnectionLimit",
            "stat_prefix": role.id,
            "max_connections": settings["max_connections"],
        },
    }
    secure = Bind(
        endpoint="https",
        tls=tls.downstream(cert.chain, cert.key, secret=secret),
        filters=[*proxied, inspector],
        network=[limit],
        quic=tls.quic(cert.chain, cert.key, secret=secret) if settings["http3"] else None,
    )
    return [Bind(endpoint="http", filters=proxied, network=[limit]), secure]


def _manager(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "request_headers_timeout": f"{settings['header_timeout']:g}s",
        # Streams of gRPC have no end to wait for.
        **({"request_timeout": "0s"} if settings["h2c"] else {}),
    }


def _hosts(role: Role, context: Context, name: str) -> list[dict[str, Any]]:
    settings = role.settings
    own = held(context.plan, role)
    route: dict[str, Any] = {}
    if settings["balance"] == "consistent_hash":
        route["hash_policy"] = [{"header": {"header_name": ":path", "regex_rewrite": _NO_QUERY}}]
    safe = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}}
    routes = [
        {
            "name": "next",
            "match": {**match, "headers": [safe]} if is_safe else match,
            "route": {**route, "cluster": cluster, **budget.route(own, retry(2, is_safe))},
            **budget.said(own),
        }
        for cluster, match in _ways(role, name)
        for is_safe in (True, False)
    ]
    said = []
    if settings["hsts"] is not None:
        said.append(_put("strict-transport-security", f"max-age={int(settings['hsts'])}"))
    if settings["http3"]:
        _, port = context.address(role.id, "https")
        said.append(_put("alt-svc", f'h3=":{port}"; ma=86400'))
    host: dict[str, Any] = {
        "name": "all",
        "domains": ["*"],
        "routes": [*budget.too_large(own, {"prefix": "/"}), *routes],
        "include_is_timeout_retry_header": True,
        "response_headers_to_add": said,
    }
    if rules(role) and not any(other.tier == "cdn" for other in context.plan.roles.values()):
        host["response_headers_to_remove"] = ["surrogate-key"]
    if settings["redirect_http"]:
        host["routes"] = [_secure(context.address(role.id, "https")[1]), *routes]
    if not settings["hosts"]:
        return [host]
    stranger = {
        "name": "strangers",
        "domains": ["*"],
        "routes": [
            {
                "name": "unknown host",
                "match": {"prefix": "/"},
                "direct_response": {"status": 421, "body": {"inline_string": "unknown host\n"}},
            }
        ],
    }
    return [{**host, "domains": settings["hosts"]}, stranger]


def _secure(port: int) -> dict[str, Any]:
    """Plain HTTP to HTTPS, at the port that HTTPS is at."""
    plain = {"name": "x-forwarded-proto", "string_match": {"exact": "http"}}
    there = {"https_redirect": True, "response_code": "PERMANENT_REDIRECT"}
    if port != 443:
        there["port_redirect"] = port
    return {"name": "secure", "match": {"prefix": "/", "headers": [plain]}, "redirect": there}


_NO_QUERY = {"pattern": {"regex": r"\?.*$"}, "substitution": ""}


def _put(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _bypass(role: Role, context: Context) -> list[dict[str, Any]]:
    return [_cluster("bypass", role.upstreams["gateway"], role, context)] if rules(role) else []


def _ways(role: Role, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Cluster and path of each route, the first that fits first (plan/bypass.py)."""
    found = [
        ("bypass" if rule.to == "gateway" else name, matching(rule.path, rule.match, rule.pattern))
        for rule in rules(role)
    ]
    return [*found, (name, {"prefix": "/"})]


def _cluster(name: str, upstreams: Sequence[Upstream], role: Role, context: Context) -> dict[str, Any]:
    settings = role.settings
    more: dict[str, Any] = {"lb_policy": _POLICY[settings["balance"]]}
    if settings["balance"] != "least_request":
        more["least_request_lb_config"] = None
    if settings["per_instance"]:
        # Requests wait for one of as many connections to an instance as it may have requests.
        each = {"max_connections": settings["per_instance"]}
        more["circuit_breakers"] = {"thresholds": [thresholds()], "per_host_thresholds": [each]}
    # Its metrics tell of each instance.
    more["track_cluster_stats"] = {"per_endpoint_stats": True}
    protocol: dict[str, Any] = {"http_protocol_options": {"enable_trailers": True}}
    if settings["h2c"]:
        protocol = {"http2_protocol_options": {"max_concurrent_streams": settings["per_instance"] or 256}}
    own = held(context.plan, role)
    more |= {"connect_timeout": budget.time(own.connect), **budget.upstream(own, protocol)}
    interval = f"{settings['health_interval']:g}s"
    check: dict[str, Any] = {
        "timeout": "0.5s",
        "interval": interval,
        "no_traffic_interval": interval,
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
    }
    if path := health(role, context.plan):
        check["http_health_check"] = {"path": path, "host": context.plan.domain}
        if settings["h2c"]:
            check["http_health_check"]["codec_client_type"] = "HTTP2"
        more["health_checks"] = [check]
    if settings["slow_start"]:
        kind = "round_robin_lb_config" if settings["balance"] == "round_robin" else "least_request_lb_config"
        if settings["balance"] != "consistent_hash":
            more[kind] = {"choice_count": 4} if kind.startswith("least") else {}
            more[kind] |= {"slow_start_config": {"slow_start_window": f"{settings['slow_start']:g}s"}}
    return cluster(
        name,
        targets(upstreams, context, settings["weights"]),
        by_distance=settings["zone_aware"],
        **more,
    )


def _filters(settings: dict[str, Any], role: Role) -> list[dict[str, Any]]:
    sticky = [extras.sticky(settings["sticky"])] if settings["sticky"] else []
    return [*sticky, *raw.filters(role)]
