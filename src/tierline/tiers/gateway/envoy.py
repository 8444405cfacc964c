"""gateway.envoy: the whole gateway on Envoy; its policies, routes and instances change while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tierline.engines.context import Context
from tierline.engines.envoy import bodies, budget, callers, limits, raw, shared_limits
from tierline.engines.envoy.budget import unheld as limits_unheld
from tierline.engines.envoy.clusters import cluster, targets, thresholds
from tierline.engines.envoy.listeners import Fragment
from tierline.engines.envoy.replies import problems
from tierline.engines.envoy.routing import changes, document, matching, retry
from tierline.engines.unkeyed import OVERRIDES
from tierline.plan.budgets import held
from tierline.plan.model import Budget, Role
from tierline.tiers.base import System
from tierline.tiers.gateway.common import envoy_who as who
from tierline.tiers.gateway.common.routes import Routed, every_version, limit_name, routes, under
from tierline.tiers.gateway.tier import FEATURES

_FILTER = "type.googleapis.com/envoy.extensions.filters.http."


class EnvoyGateway(System):
    title = "Envoy"
    engine = "envoy"
    measures = True
    around = True
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES)
    listens_for_places = True
    lacks = {
        "wire-http10": "Envoy answers HTTP/1.0 with 426: if it took it, it would take HTTP/3.1 for it, and chunks in it",
        "wire-max-forwards": "Envoy passes Max-Forwards on as it came",
        "wire-answer-switch-unasked": "Envoy passes on a 101 that nobody asked for, and ends the connection",
        "wire-h2-answer-switch-unasked": "over HTTP/2 Envoy passes on a 101 as an interim answer, and ends the stream",
        "unsized-uploads": "Envoy counts a body that doesn't say how long it is by reading it to its end first",
    }
    endpoints = {"http": "http", "mtls": "https"}
    counter = "feature.limits"

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        return limits_unheld(budget)

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings, told = role.settings, role.settings.get("document")
        own = held(context.plan, role)
        breaker = thresholds(settings["concurrency"], settings["retry_budget"])
        return Fragment(
            role=role,
            filters=_filters(settings, role, context),
            virtual_hosts=[_host(role, context)],
            routing={"max_direct_response_body_size_bytes": len(told) * 4} if told else {},
            clusters=[
                cluster(
                    name,
                    targets(upstreams, context),
                    circuit_breakers={"thresholds": [breaker]},
                    connect_timeout=budget.time(own.connect),
                    **budget.upstream(own, {"http_protocol_options": {"enable_trailers": True}}),
                )
                for name, upstreams in role.upstreams.items()
            ]
            + who.clusters(role, context)
            + [shared_limits.cluster(context.address(each, "http")) for each in _counter(role, context)],
            secrets=who.secrets(role, context),
            binds=who.binds(role, context),
            local_reply=problems(own),
            stripped=tuple(name.lower() for name in OVERRIDES),
        )


def _host(role: Role, context: Context) -> dict[str, Any]:
    settings = role.settings
    own = held(context.plan, role)
    found: dict[str, Any] = {
        "name": "all",
        "domains": ["*"],
        "include_is_timeout_retry_header": True,
        "routes": [
            *budget.too_large(own, {"prefix": "/"}),
            *([document(settings["openapi"], settings["document"])] if settings.get("document") else []),
            *(made for each in routes(role, context.plan) for made in _routes(each, settings, own)),
        ],
        **changes(settings["request"], settings["response"]),
    }
    if settings["cors"]:
        found["typed_per_filter_config"] = {"envoy.filters.http.cors": _cors(settings["cors"])}
        # Whoever asks: a cache in front mustn't give one origin the answer of another, or of none.
        told = {"header": {"key": "vary", "value": "origin"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
        found["response_headers_to_add"] = [*found.get("response_headers_to_add", []), told]
    return found


SAFE = ("GET", "HEAD", "OPTIONS")


def _routes(route: Routed, settings: dict[str, Any], whole: Budget) -> list[dict[str, Any]]:
    """The route twice, as Envoy's retry policy can't look at the method: first for methods that change nothing.
    Before each, one for those who ask for its canary by header; before all, one for bodies that are too large for the
    route alone."""
    canary = route.canary or {}
    made = (
        budget.too_large(route.budget, _match(route, route.methods))
        if route.budget.body != whole.body
        else []
    )
    for safe in (True, False):
        methods = [method for method in route.methods or SAFE if method in SAFE] if safe else route.methods
        if safe and route.methods and settings["cors"]:
            # A preflight asks for the method that it is about, before the method itself comes.
            methods = [*methods, "OPTIONS"]
        if safe and not methods:
            continue
        if canary.get("header"):
            chosen = _route(route, settings, {"cluster": canary["to"]}, methods, safe)
            chosen["name"] = f"{route.name}:canary"
            wanted = {"name": canary["header"], "present_match": True}
            chosen["match"]["headers"] = [*chosen["match"].get("headers", []), wanted]
            made.append(chosen)
        made.append(_route(route, settings, _balanced(route), methods, safe))
    if route.budget.body not in (None, whole.body):
        bound = {
            "@type": _FILTER + "buffer.v3.BufferPerRoute",
            "buffer": {"max_request_bytes": route.budget.body},
        }
        for each in made:
            each["typed_per_filter_config"] = {**each.get("typed_per_filter_config", {}), _BUFFER: bound}
    return made


_BUFFER = "envoy.filters.http.buffer"
"""Counts bodies that don't say how long they are."""


def _balanced(route: Routed) -> dict[str, Any]:
    weight = (route.canary or {}).get("weight", 0)
    if not route.canary or not weight:
        return {"cluster": route.upstream}
    shares = [(route.upstream, 100 - weight), (route.canary["to"], weight)]
    return {"weighted_clusters": {"clusters": [{"name": name, "weight": share} for name, share in shares]}}


def _route(
    route: Routed, settings: dict[str, Any], to: dict[str, Any], methods: Sequence[str], safe: bool
) -> dict[str, Any]:
    action = {**to, **budget.route(route.budget, retry(route.retries, safe, statuses=True))}
    if route.rewrite is not None:
        action |= _rewrite(route)
    if route.mirror:
        share = {"default_value": {"numerator": route.mirror["percent"]}}
        action["request_mirror_policies"] = [{"cluster": route.mirror["to"], "runtime_fraction": share}]
    made = {
        "name": route.name,
        "match": _match(route, methods),
        "route": action,
        **budget.said(route.budget),
        **changes(route.request, route.response),
    }
    if _shapes(route):
        made["typed_per_filter_config"] = bodies.of_route(
            route.request_body, route.response_body, route.path if route.match == "template" else ""
        )
    if route.response_body is not None:
        # What is compressed, or a part of a whole, can't be shaped.
        gone = made.get("request_headers_to_remove", [])
        made["request_headers_to_remove"] = [*gone, "accept-encoding", "range"]
    return made


def _match(route: Routed, methods: Sequence[str]) -> dict[str, Any]:
    return matching(
        route.path, route.match, route.pattern, methods=methods, hosts=route.hosts, headers=route.headers
    )


def _shapes(route: Routed) -> bool:
    return route.request_body is not None or route.response_body is not None


def _rewrite(route: Routed) -> dict[str, Any]:
    """The prefix replaced, by whole segments; of a template, the version before it taken away."""
    if route.match == "template":
        return {"regex_rewrite": {"pattern": {"regex": f"^{route.cut}"}, "substitution": ""}}
    if route.rewrite == "/" and route.path != "/":
        return {"regex_rewrite": {"pattern": {"regex": f"^{route.path}/?"}, "substitution": "/"}}
    return {"prefix_rewrite": route.rewrite}


def _filters(settings: dict[str, Any], role: Role, context: Context) -> list[dict[str, Any]]:
    shaped = any(_shapes(route) for route in routes(role, context.plan))
    largest = held(context.plan, role).body
    filters = [] if largest is None else [_buffer(largest, shaped)]
    if settings["cors"]:
        filters.append(
            {"name": "envoy.filters.http.cors", "typed_config": {"@type": _FILTER + "cors.v3.Cors"}}
        )
    filters += who.filters(role, context)
    filters += _access(settings)
    counted = [
        made for number, each in enumerate(settings["limits"]) for made in _limit(each, settings, number)
    ]
    early = [each for each in counted if each["key"] in ("", "address")]
    late = [each for each in counted if each not in early] + _quotas(settings["keys"])
    if _counter(role, context):
        token = context.secret(shared_limits.CREDENTIAL)
        as_sent = settings["paths"] == "as_sent"
        filters += shared_limits.filter(early, "tierline.limits", token, last=bool(late), as_sent=as_sent)
        filters += shared_limits.filter(late, "tierline.quotas", token, as_sent=as_sent)
    else:
        filters += limits.limit_filters(early, role.id, "tierline.limits")
        filters += limits.limit_filters(late, role.id, "tierline.quotas")
        if counted or late:
            filters.append(limits.header_filter(any(each["match"] is None for each in early)))
    if shaped:
        filters.append(bodies.filter())
    return filters + raw.filters(role)


def _buffer(most: int, shaped: bool) -> dict[str, Any]:
    """Bodies that don't say how long they are are read to their end first, but for a WebSocket, which has none. shaped:
    so are all others, for templates."""
    skip = {"@type": "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"}
    matchers = [
        {
            "predicate": {"single_predicate": {"input": _input(header), "value_match": value}},
            "on_match": {"action": {"name": "skip", "typed_config": skip}},
        }
        for header, value in (
            ("upgrade", {"exact": "websocket", "ignore_case": True}),
            *([] if shaped else [("content-length", {"safe_regex": {"google_re2": {}, "regex": "[0-9]+"}})]),
        )
    ]
    name = _BUFFER
    config = {"@type": _FILTER + "buffer.v3.Buffer", "max_request_bytes": most}
    return {
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": {"name": name, "typed_config": config},
            "xds_matcher": {"matcher_list": {"matchers": matchers}},
        },
    }


def _input(header: str) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    return {"name": header, "typed_config": {"@type": kind, "header_name": header}}


def _access(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Conditions on the address alone come early, those on claims after the token is known."""
    ready = [{**rule, "match": under(rule["paths"], settings)} for rule in settings["access"]]
    early = [rule for rule in ready if not rule["claims"] and not rule["scopes"]]
    late = [rule for rule in ready if rule not in early]
    found = [callers.access(early, "tierline.addresses")] if early else []
    return found + ([callers.access(late, "envoy.filters.http.rbac")] if late else [])


def _counter(role: Role, context: Context) -> list[str]:
    """The role that counts for all gateways of the line, if the line has one."""
    return [each for each in role.needs if each == shared_limits.ROLE and each in context.plan.roles]


def _limit(limit: dict[str, Any], settings: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """A limit by what it counts; a consumer is known by a key or by the subject of a token."""
    if limit["by"] == "consumer":
        keys = [callers.CONSUMER] * bool(settings["keys"] or settings["mtls"])
        keys += [callers.SUBJECT] * bool(settings["auth"] or settings["login"])
    else:
        keys = ["address" if limit["by"] == "client" else ""]
    match = under(limit["paths"], settings) if limit["paths"] else None
    prefixes = every_version(limit["paths"], settings) if limit["paths"] else None
    more = {"match": match, "prefixes": prefixes, "policy": limit_name(limit, number)}
    return [{**limit, **more, "key": key} for key in keys]


def _quotas(keys: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A limit for each consumer by its plan."""
    if not keys:
        return []
    plans = {plan["name"]: plan for plan in keys["plans"]}
    return [
        {
            **plans[plan],
            "burst": None,
            "key": callers.CONSUMER,
            "who": consumer,
            "match": None,
            "prefixes": None,
            "kind": "window",
            "policy": f"quota:{plan}",
        }
        for consumer, plan in keys["consumers"].items()
        if plan
    ]


def _cors(origins: list[str]) -> dict[str, Any]:
    return {
        "@type": _FILTER + "cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": origin} for origin in origins],
        "allow_methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "allow_headers": "authorization, content-type, x-client, x-app-version, idempotency-key, api-version",
        "expose_headers": "deprecation, link, ratelimit, ratelimit-limit, ratelimit-policy, ratelimit-remaining, "
        "ratelimit-reset, retry-after, sunset",
        "max_age": "600",
    }
