"""Envoy's clusters: who stands behind, in order of distance, and when one of them is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tierline.engines.context import Context
from tierline.engines.forwarded import LINE
from tierline.engines.target import Target
from tierline.plan.model import Upstream


def targets(upstreams: Sequence[Upstream], context: Context, weights: Mapping[str, int] = {}) -> list[Target]:
    """The targets of a role's upstreams. weights: by role id or by zone, out of 100."""
    found = []
    for each in upstreams:
        host, port = context.address(each.role, each.endpoint)
        zone = context.plan.roles[each.role].zone
        weight = weights.get(each.role, weights.get(zone, 100))
        found.append(Target(name=each.role, host=host, port=port, distance=each.distance, weight=weight))
    return found


def assignment(name: str, instances: Sequence[Target], *, by_distance: bool = True) -> dict[str, Any]:
    """A ClusterLoadAssignment: the nearest have priority 0, the others take over when those fail."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for each in instances:
        if each.weight < 1:
            continue
        groups.setdefault(each.distance if by_distance else 0, []).append(
            {
                "endpoint": {"address": {"socket_address": {"address": each.host, "port_value": each.port}}},
                "load_balancing_weight": each.weight,
                "health_status": "DRAINING" if each.draining else "UNKNOWN",
            }
        )
    return {
        "cluster_name": name,
        # Another zone only when nobody of a nearer one is left.
        "policy": {"overprovisioning_factor": 100_000},
        "endpoints": [
            {"priority": priority, "lb_endpoints": endpoints}
            for priority, (_, endpoints) in enumerate(sorted(groups.items()))
        ],
    }


def cluster(
    name: str, instances: Sequence[Target], *, by_distance: bool = True, **more: Any
) -> dict[str, Any]:
    """A cluster. Its endpoints are a file of their own, so that they can change without touching it.

    Outlier detection ejects after three failures in a row to connect or to get an answer; what is answered never
    counts. A zone that dies costs nothing: each such request is tried elsewhere.
    """
    found = {
        "name": name,
        "type": "EDS",
        "connect_timeout": "0.5s",
        "lb_policy": "LEAST_REQUEST",
        # Of few instances, look at more than the usual two.
        "least_request_lb_config": {"choice_count": 4},
        # Moved into a watched file by the engine.
        "load_assignment": assignment(name, instances, by_distance=by_distance),
        "circuit_breakers": {"thresholds": [thresholds()]},
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "consecutive_gateway_failure": 0,
            "enforcing_consecutive_5xx": 0,
            "interval": "0.5s",
            "base_ejection_time": "1s",
            "max_ejection_time": "5s",
            "max_ejection_percent": 100,
        },
        # When every instance has been left out, by a request that breaks whoever gets it for example, all are
        # tried again rather than none.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "ignore_health_on_host_removal": True,
        **more,
    }
    return {key: value for key, value in found.items() if value is not None}


def proven(cluster: dict[str, Any], proof: str) -> dict[str, Any]:
    """The cluster, whose requests show what its instances want to see of who is of the line (engines/forwarded.py)."""
    if not proof:
        return cluster
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    plain = {
        "@type": f"type.googleapis.com/{kind}",
        "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
    }
    given = cluster.get("typed_extension_protocol_options", {})
    put = {"header": {"key": LINE.lower(), "value": proof}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    before = given.get(kind, {}).get("http_filters", [])[:-1]  # the last one is the codec
    filters = [
        *before,
        {
            "name": "envoy.filters.http.header_mutation",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
                "mutations": {"request_mutations": [{"append": put}]},
            },
        },
        {
            "name": "envoy.filters.http.upstream_codec",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
            },
        },
    ]
    options = {kind: {**given.get(kind, plain), "http_filters": filters}}
    return {**cluster, "typed_extension_protocol_options": {**given, **options}}


def thresholds(concurrency: int | None = None, retry_budget: int | None = None) -> dict[str, Any]:
    """Circuit breakers. The defaults allow three retries at once: a dying zone would then fail hundreds of
    requests."""
    found: dict[str, Any] = {
        "max_connections": 4096,
        "max_pending_requests": concurrency or 4096,
        "max_requests": concurrency or 8192,
        "track_remaining": True,
    }
    if retry_budget is None:
        return {**found, "max_retries": 1024}
    budget = {"budget_percent": {"value": retry_budget}, "min_retry_concurrency": 20}
    return {**found, "retry_budget": budget}
