"""Rate limits and quotas that this Envoy counts by itself: one filter per interval, a descriptor per limit. Where the
line has a counter they are counted for the whole line (shared_limits.py)."""

from __future__ import annotations

import math
from typing import Any

_FILTER = "type.googleapis.com/envoy.extensions.filters.http."
_CLIENTS = 20_000
"""Clients that are counted at once; the longest unseen is forgotten."""


POLICY = "x-tierline-policy"
"""Which limit has refused, for the caller and the hop."""


def bucket(requests: int, per: float, burst: int | None = None) -> dict[str, Any]:
    """A token bucket. What refills `requests` in `per` refills one token after its part of it, so that a burst
    is not followed by a whole interval of refusals."""
    return {"max_tokens": burst or requests, "tokens_per_fill": requests, "fill_interval": f"{per:g}s"}


def limit_filters(limits: list[dict[str, Any]], role: str, name: str) -> list[dict[str, Any]]:
    """Filters for limits of `{requests, per, burst, key, match, policy}`.

    key: `""` for everybody together, else `address`, or the header that says who it is. match: a regular
    expression over paths, or None for all. A filter per policy and interval, so that a refusal says whose it is and
    Retry-After is true for each.
    """
    groups: dict[tuple[str, float], list[tuple[int, dict[str, Any]]]] = {}
    for number, limit in enumerate(limits):
        groups.setdefault((limit["policy"], limit["per"]), []).append((number, limit))
    return [
        {
            "name": name if number == 0 else f"{name}.{number}",
            "typed_config": {
                "@type": _FILTER + "local_ratelimit.v3.LocalRateLimit",
                "stat_prefix": f"{role}.{name}",
                "filter_enabled": _ALWAYS,
                "filter_enforced": _ALWAYS,
                "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
                "response_headers_to_add": [
                    {
                        "header": {"key": "retry-after", "value": str(max(1, math.ceil(per)))},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    },
                    {"header": {"key": POLICY, "value": policy}},
                ],
                "max_dynamic_descriptors": _CLIENTS,
                "rate_limits": [{"actions": _actions(key, limit)} for key, limit in group],
                "descriptors": [_descriptor(key, limit) for key, limit in group],
            },
        }
        for number, ((policy, per), group) in enumerate(groups.items())
    ]


_ALWAYS = {"default_value": {"numerator": 100}, "runtime_key": "tierline.limit"}


def _actions(number: int, limit: dict[str, Any]) -> list[dict[str, Any]]:
    """What makes the descriptor of a limit; none is made, and nothing counted, when a part is missing."""
    word = {"descriptor_key": "limit", "descriptor_value": str(number)}
    actions: list[dict[str, Any]] = [{"generic_key": word}]
    if limit["match"] is not None:
        # Whatever the query says; the regular expression is over the whole value.
        path = {"name": ":path", "string_match": {"safe_regex": {"regex": limit["match"] + r"(\?.*)?"}}}
        actions = [{"header_value_match": {**word, "headers": [path]}}]
    if limit["key"] == "address":
        actions.append({"remote_address": {}})
    elif limit["key"]:
        actions.append({"request_headers": {"header_name": limit["key"], "descriptor_key": "who"}})
    return actions


def _descriptor(number: int, limit: dict[str, Any]) -> dict[str, Any]:
    entries = [{"key": "limit", "value": str(number)}]
    if limit["key"] == "address":
        entries.append({"key": "remote_address"})
    elif limit["key"]:
        entries.append({"key": "who", **({"value": limit["who"]} if limit.get("who") else {})})
    return {"entries": entries, "token_bucket": bucket(limit["requests"], limit["per"], limit["burst"])}


def header_filter(everywhere: bool) -> dict[str, Any]:
    """Envoy's own names of what is left, in the standard's words. everywhere: every request is limited, so the
    field that needs all of its parts can be written too."""

    def put(name: str, value: str) -> dict[str, Any]:
        return {
            "append": {
                "header": {"key": name, "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        }

    left = "%RESP(x-ratelimit-remaining)%"
    reset = "%RESP(x-ratelimit-reset)%"
    mutations = [
        put("ratelimit-limit", "%RESP(x-ratelimit-limit)%"),
        put("ratelimit-remaining", left),
        put("ratelimit-reset", reset),
    ]
    if everywhere:
        mutations.append(put("ratelimit", f'"limit";r={left};t={reset}'))
    mutations += [{"remove": f"x-ratelimit-{word}"} for word in ("limit", "remaining", "reset")]
    return {
        "name": "tierline.limit_headers",
        "typed_config": {
            "@type": _FILTER + "header_mutation.v3.HeaderMutation",
            "mutations": {"response_mutations": mutations},
        },
    }
