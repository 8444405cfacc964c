"""A load balancer in front of a gateway in one Envoy: requests are parsed once.

    client ─▶ lb's listener, with the gateway's filters and routes ─▶ service

The balancer's manager gets the gateway's filters, switched off, and its routes, which switch them on: for all paths, or,
where a cache stands between, for those that bypass it (plan/bypass.py). Policies, routes and instances stay in the
gateway's own files, and each role reports its hop. WebSockets take the way through both.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tierline.engines.envoy.hops import MARK, marked
from tierline.engines.envoy.listeners import Fragment

_SWITCH = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
_KNOWN = {
    "name", "domains", "routes", "typed_per_filter_config", "request_headers_to_add", "request_headers_to_remove",
    "response_headers_to_add", "response_headers_to_remove", "include_is_timeout_retry_header",
}  # fmt: skip
_RETRIES = {"include_is_timeout_retry_header": True}
"""Another try after a time-out is known by a header, which the clusters refuse (budget.py)."""
_NO_UPGRADE = {"name": "upgrade", "present_match": True, "invert_match": True}
_CHANGES = sorted(key for key in _KNOWN if "headers" in key)


def merged(fragments: list[Fragment]) -> list[Fragment]:
    """The fragments of a unit; one that passes requests on to a gateway among them has the gateway's routes."""
    by_role = {fragment.role.id: fragment for fragment in fragments}
    return [_short(fragment, by_role) for fragment in fragments]


def _next(front: Fragment, by_role: dict[str, Fragment]) -> tuple[set[str], Fragment | None]:
    """The role of this process that requests go on to as long as it lives, and the clusters by which they do."""
    found: dict[str, set[str]] = {}
    for cluster, targets in front.passes.items():
        nearest = [each for each in targets if each.distance == 0]
        if len(nearest) == 1 and by_role.get(nearest[0].role) is not None:
            found.setdefault(nearest[0].role, set()).add(cluster)
    # One manager has the filters of one other role.
    return next(((clusters, by_role[role]) for role, clusters in found.items()), (set(), None))


def _short(front: Fragment, by_role: dict[str, Fragment]) -> Fragment:
    clusters, gateway = _next(front, by_role)
    ours = {each["name"] for each in front.filters}
    if gateway is None or any(each["name"] in ours for each in gateway.filters):
        return front
    if len(gateway.virtual_hosts) != 1 or not gateway.virtual_hosts[0].keys() <= _KNOWN or gateway.manager:
        return front
    switched = {
        name: {"@type": _SWITCH, "config": {}} for name in [MARK, *(f["name"] for f in gateway.filters)]
    }
    short = [
        _route(route, gateway.virtual_hosts[0], switched) for route in gateway.virtual_hosts[0]["routes"]
    ]
    return msgspec.structs.replace(
        front,
        virtual_hosts=[_host(host, short, clusters) for host in front.virtual_hosts],
        routing={**gateway.routing, **front.routing},
        borrowed=[(gateway.role.id, each) for each in gateway.filters] + [(front.role.id, _mark())],
        plays=gateway.role,
        stripped=tuple(dict.fromkeys((*front.stripped, *gateway.stripped))),
        local_reply=front.local_reply if front.owns else _replies(gateway.local_reply, front.local_reply),
    )


def _host(host: dict[str, Any], short: list[dict[str, Any]], clusters: set[str]) -> dict[str, Any]:
    """The gateway's routes before each route that goes on to it; what the role answers itself stays before them."""
    routes: list[dict[str, Any]] = []
    paths: list[list[dict[str, Any]]] = []
    for route in host["routes"]:
        if route.get("route", {}).get("cluster") in clusters and (path := _path(route["match"])) not in paths:
            paths.append(path)
            routes += [_within(each, path) for each in short]
        routes.append(route)
    return {**host, **_RETRIES, "routes": routes} if paths else host


def _path(match: dict[str, Any]) -> list[dict[str, Any]]:
    """The path of a match as a condition: a route that has a path of its own can have it, too."""
    if "path" in match:
        pattern = re.escape(match["path"])
    elif "path_separated_prefix" in match:
        pattern = f"{re.escape(match['path_separated_prefix'])}(/.*)?"
    elif "safe_regex" in match:
        pattern = match["safe_regex"]["regex"]
    else:
        return []
    # RE2 knows no escape of what needs none.
    pattern = pattern.replace("\\-", "-")
    return [{"name": ":path", "string_match": {"safe_regex": {"regex": f"({pattern})(\\?.*)?"}}}]


def _within(route: dict[str, Any], path: list[dict[str, Any]]) -> dict[str, Any]:
    return {**route, "match": {**route["match"], "headers": [*path, *route["match"]["headers"]]}}


def _route(route: dict[str, Any], host: dict[str, Any], switched: dict[str, Any]) -> dict[str, Any]:
    """A route of the gateway at the front; what its host adds is its own here."""
    match = {**route["match"], "headers": [*route["match"].get("headers", []), _NO_UPGRADE]}
    made = {**route, "match": match}
    for key in _CHANGES:
        given = [*route.get(key, []), *host.get(key, [])]
        if given:
            made[key] = given
    made["typed_per_filter_config"] = {
        **switched,
        **host.get("typed_per_filter_config", {}),
        **route.get("typed_per_filter_config", {}),
    }
    return made


def _mark() -> dict[str, Any]:
    return {
        "name": MARK,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata": [{"metadata_namespace": MARK, "value": {"short": "yes"}}],
        },
    }


def _replies(told: dict[str, Any], front: dict[str, Any]) -> dict[str, Any]:
    """The gateway's where a request is at its filters; else what the balancer says."""
    if not told:
        return front
    mappers = [
        {**each, "filter": {"and_filter": {"filters": [marked(), each["filter"]]}}}
        for each in told["mappers"]
    ]
    return {**told, "mappers": [*mappers, *front.get("mappers", ())]}
