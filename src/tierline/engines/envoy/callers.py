"""Who calls and what they may: tokens, keys and access as Envoy's filters."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tierline.plan.paths import below

_FILTER = "type.googleapis.com/envoy.extensions.filters.http."
CLAIMS = "x-tierline-claims"
SUBJECT = "x-tierline-subject"
CONSUMER = "x-tierline-consumer"


def keys_at(url: str, cluster: str, refresh: float) -> dict[str, Any]:
    """Keys that Envoy fetches before its listener opens, and again while it runs."""
    return {
        "remote_jwks": {
            "http_uri": {"uri": url, "cluster": cluster, "timeout": "3s"},
            "cache_duration": f"{refresh:g}s",
            "async_fetch": {"failed_refetch_duration": "1s"},
        }
    }


def provider(auth: dict[str, Any], keys: dict[str, Any], header: str | None = None) -> dict[str, Any]:
    """Whose tokens are good, and what becomes of what they claim.

    auth: `issuer`, `audience`, `clock_skew`. keys: `local_jwks` or `remote_jwks`. header: where a token is that
    comes from the gateway itself and goes no further; default: in Authorization, and it goes on.
    """
    where: dict[str, Any] = {"from_headers": [{"name": header}]} if header else {}
    return {
        "issuer": auth["issuer"],
        "audiences": [auth["audience"]],
        **keys,
        **where,
        "clock_skew_seconds": int(auth["clock_skew"]),
        "require_expiration": True,
        "forward": header is None,
        "forward_payload_header": CLAIMS,
        "claim_to_headers": [{"header_name": SUBJECT, "claim_name": "sub"}],
        "payload_in_metadata": "claims",
        "header_in_metadata": "head",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
        # A token seen before costs no second signature check: 75 → 42 µs.
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }


def jwt(
    providers: dict[str, dict[str, Any]], needed: Mapping[str, Sequence[str]], as_sent: bool
) -> dict[str, Any]:
    """Tokens needed below the paths of `needed`, of one of the providers named there; elsewhere optional, but a
    bad one is refused all the same. as_sent: paths come in any spelling (plan/paths.py)."""
    rules = [
        {
            "match": _below(path, as_sent),
            "requires": _any([{"provider_name": name} for name in needed[path]]),
        }
        for path in sorted(needed, key=len, reverse=True)
    ]
    optional = _any([*({"provider_name": name} for name in providers), {"allow_missing": {}}])
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": _FILTER + "jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [*rules, {"match": {"prefix": "/"}, "requires": optional}],
        },
    }


def _below(path: str, as_sent: bool) -> dict[str, Any]:
    if path == "/":
        return {"prefix": "/"}
    if as_sent:
        return {"safe_regex": {"regex": below(path.rstrip("/"))}}
    return {"path_separated_prefix": path.rstrip("/")}


def _any(requirements: list[dict[str, Any]]) -> dict[str, Any]:
    return requirements[0] if len(requirements) == 1 else {"requires_any": {"requirements": requirements}}


def algorithms(allowed: list[str]) -> dict[str, Any]:
    """Refuses tokens signed in another way. Keys from a URL can't be sorted out before Envoy has them; it never
    takes a key for an algorithm of another kind, so this is about the strength that a stack asks for."""
    path = [{"key": "head"}, {"key": "alg"}]
    said = [{"string_match": {"exact": each}} for each in allowed]
    anything: dict[str, Any] = {"present_match": True}
    good: dict[str, Any] = {"or_match": {"value_matchers": said}} if len(said) > 1 else said[0]

    def head(value: dict[str, Any]) -> dict[str, Any]:
        matcher = {"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value}
        return {"sourced_metadata": {"metadata_matcher": matcher}}

    principal = {"and_ids": {"ids": [head(anything), {"not_id": head(good)}]}}
    policy = {"permissions": [{"any": True}], "principals": [principal]}
    return {
        "name": "tierline.algorithms",
        "typed_config": {
            "@type": _FILTER + "rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": {"token-algorithm": policy}},
        },
    }


def private(match: str) -> dict[str, Any]:
    """Answers below these paths are for who asked: a cache in front, which sees neither session nor key, would give
    them to the next one."""
    said = {"key": "cache-control", "value": "private, no-store"}
    put = {"append": {"header": said, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    config = {
        "@type": _FILTER + "header_mutation.v3.HeaderMutation",
        "mutations": {"response_mutations": [put]},
    }
    return {**elsewhere("envoy.filters.http.header_mutation", config, match), "name": "tierline.private"}


def api_keys(header: str, keys: dict[str, str], match: str) -> dict[str, Any]:
    """Consumers by their key. `match`: a regular expression of the paths that need one."""
    config = {
        "@type": _FILTER + "api_key_auth.v3.ApiKeyAuth",
        "credentials": [{"key": key, "client": client} for client, key in keys.items()],
        "key_sources": [{"header": header}],
        "forwarding": {"header": CONSUMER, "hide_credentials": True},
    }
    return elsewhere("envoy.filters.http.api_key_auth", config, match)


def elsewhere(name: str, config: dict[str, Any], match: str) -> dict[str, Any]:
    """A filter that is skipped unless the path is what `match` says."""
    path = {
        "input": {
            "name": "path",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                "header_name": ":path",
            },
        },
        "value_match": {"safe_regex": {"google_re2": {}, "regex": match + r"(\?.*)?"}},
    }
    skip = {"@type": "type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter"}
    other = {
        "predicate": {"not_matcher": {"single_predicate": path}},
        "on_match": {"action": {"name": "skip", "typed_config": skip}},
    }
    return {
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            "extension_config": {"name": name, "typed_config": config},
            "xds_matcher": {"matcher_list": {"matchers": [other]}},
        },
    }


def access(rules: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """One filter for rules of `{paths, match, methods, claims, scopes, addresses}`: who fails a rule of their path is
    denied. `match`: a regular expression over paths."""
    return {
        "name": name,
        "typed_config": {
            "@type": _FILTER + "rbac.v3.RBAC",
            "rules": {
                "action": "DENY",
                "policies": {
                    re.sub(r"[^A-Za-z0-9/:._-]", "-", f"access-{number}:{rule['paths'][0]}"): {
                        "permissions": [_permission(rule)],
                        "principals": [{"not_id": {"and_ids": {"ids": _principals(rule)}}}],
                    }
                    for number, rule in enumerate(rules)
                },
            },
        },
    }


def _permission(rule: dict[str, Any]) -> dict[str, Any]:
    path = {"url_path": {"path": {"safe_regex": {"regex": rule["match"]}}}}
    if not rule["methods"]:
        return path
    method = {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(rule["methods"])}}}
    return {"and_rules": {"rules": [path, {"header": method}]}}


def _principals(rule: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for claim, value in rule["claims"].items():
        found.append(_claim(claim, {"string_match": {"exact": value}}))
    for scope in rule["scopes"]:
        found.append(_claim("scope", {"list_match": {"one_of": {"string_match": {"exact": scope}}}}))
    if rule["addresses"]:
        networks = [ipaddress.ip_network(each) for each in rule["addresses"]]
        ranges = [
            {"remote_ip": {"address_prefix": str(net.network_address), "prefix_len": net.prefixlen}}
            for net in networks
        ]
        found.append({"or_ids": {"ids": ranges}})
    return found


def _claim(name: str, value: dict[str, Any]) -> dict[str, Any]:
    matcher = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "claims"}, {"key": name}],
        "value": value,
    }
    return {"sourced_metadata": {"metadata_matcher": matcher}}
