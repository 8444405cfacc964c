"""Rate limits and quotas of the whole line: a script (limits.lua) that asks the line's counter (engines/counter)."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from tierline.engines.counter.engine import CREDENTIAL, ROLE
from tierline.engines.envoy.clusters import thresholds

CLUSTER = "tierline.counter"
"""Envoy's own metrics tell of it when the counter is away: `cluster.tierline.counter.upstream_cx_connect_fail` and
`upstream_rq_timeout`."""

DEADLINE_MS = 50
"""How long a request waits for the counter before its gateway counts alone."""


def filter(
    limits: list[dict[str, Any]], name: str, token: str, last: bool = False, as_sent: bool = False
) -> list[dict[str, Any]]:
    """The filter for limits of `{requests, per, burst, key, prefixes, who, policy}`, or none for none.

    key: see limits.limit_filters. prefixes: paths, or None for all. who: the only one that it is for. kind: `window`
    when the interval begins with the first request and the whole of it comes back at its end, else a bucket that
    fills evenly. last: another such filter stands behind, and answers pass it first. as_sent:
    paths come in other spellings, too.
    """
    if not limits:
        return []
    grouped: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for limit in limits:
        # Consumers of a plan are one limit, each counted apart.
        _, members = grouped.setdefault(json.dumps([limit["policy"], limit["key"]]), (limit, []))
        members += [limit["who"]] if limit.get("who") else []
    told = ",\n".join(_limit(limit, members) for limit, members in grouped.values())
    known = (
        f"local NAME, CLUSTER, TOKEN = {json.dumps(name)}, {json.dumps(CLUSTER)}, {json.dumps(token)}\n"
        f"local LAST, DEADLINE = {str(last).lower()}, {DEADLINE_MS}\n"
        f"local AS_SENT = {str(as_sent).lower()}\n"
        f"local LIMITS = {{\n{told}\n}}\n"
    )
    return [
        {
            "name": name,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                "default_source_code": {"inline_string": known + _script()},
            },
        }
    ]


def cluster(address: tuple[str, int]) -> dict[str, Any]:
    """The counter. Nobody waits for it longer than limits.lua says."""
    host, port = address
    where = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    return {
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": f"{DEADLINE_MS / 1000:g}s",
        "circuit_breakers": {"thresholds": [thresholds()]},
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [where]}]},
    }


def _limit(limit: dict[str, Any], members: list[str]) -> str:
    requests, per, name = limit["requests"], limit["per"], limit["policy"]
    most, window = limit["burst"] or requests, limit.get("kind") == "window"
    # What the counter is told of each key: see engines/counter/counts.py.
    head = f"{name}:{limit['key']}\t{'window' if window else 'bucket'}\t{requests}\t{per:g}\t{most}\t"
    fields = {
        "name": json.dumps(name),
        "said": json.dumps(str(most)),
        "quoted": json.dumps(f'"{name}"'),
        "policy": json.dumps(f'"{name}";q={requests};w={max(1, round(per))}'),
        "head": json.dumps(head),
        "requests": str(requests),
        "most": str(most),
        "per": f"{per * 1000:g}",
        "rate": f"{requests / per / 1000:.12g}",
        "window": str(window).lower(),
        "by": json.dumps(limit["key"]),
    }
    if limit["prefixes"] is not None:
        fields["paths"] = "{ " + ", ".join(json.dumps(each.rstrip("/")) for each in limit["prefixes"]) + " }"
    if members:
        fields["members"] = "{ " + ", ".join(f"[{json.dumps(each)}] = true" for each in members) + " }"
    return "  { " + ", ".join(f"{key} = {value}" for key, value in fields.items()) + " }"


@functools.cache
def _script() -> str:
    return (resources.files(__package__) / "limits.lua").read_text()


__all__ = ["CLUSTER", "CREDENTIAL", "ROLE", "cluster", "filter"]
