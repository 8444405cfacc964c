"""What gateway.nginx tells its program: the stack's policies and routes as one JSON object."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tierline.engines import templates
from tierline.engines.context import Context
from tierline.engines.nginx import bodies, policies
from tierline.plan.model import Role
from tierline.tiers.gateway.common import nginx_login
from tierline.tiers.gateway.common.nginx_routes import up
from tierline.tiers.gateway.common.routes import Routed, api_keys, every_version, token_paths


def told(
    role: Role, context: Context, keys: list[dict[str, Any]], table: list[Routed], counted: bool
) -> dict[str, Any]:
    """The object `policies` of gateway.js. keys: those that check tokens (RFC 7517), each with its `alg`. counted:
    whether the line has a counter of limits and quotas."""
    settings = role.settings
    rules = [_access(rule, number, settings) for number, rule in enumerate(settings["access"])]
    limits = [_limit(limit, number, settings) for number, limit in enumerate(settings["limits"])]
    return {
        "prefix": up(role, ""),
        "counted": counted,
        "budget": settings["retry_budget"],
        "cors": settings["cors"],
        "exposed": policies.EXPOSED,
        "early": [rule for rule in rules if not rule["claims"] and not rule["scopes"]],
        "access": [rule for rule in rules if rule["claims"] or rule["scopes"]],
        "limits": [limit for limit in limits if limit["by"] != "consumer"],
        "persons": [limit for limit in limits if limit["by"] == "consumer"],
        "keys": _consumers(settings, context),
        "mtls": _certificates(settings),
        "auth": _auth(settings, keys),
        "login": nginx_login.told(role, context),
        "routes": _table(role, table),
        "largest": min(settings["max_body"], bodies.LARGEST),
    }


def _prefixes(paths: list[str]) -> list[str]:
    return [path.rstrip("/") for path in paths]


def _access(rule: dict[str, Any], number: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": policies.named("access", number, rule["paths"]),
        "paths": _prefixes(every_version(rule["paths"], settings)),
        "methods": rule["methods"],
        "claims": list(rule["claims"].items()),
        "scopes": rule["scopes"],
        "network": f"gw_network_{number}" if rule["addresses"] else "",
    }


def _limit(limit: dict[str, Any], number: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": policies.named(f"limit-{limit['by']}", number, limit["paths"]),
        "by": limit["by"],
        "requests": limit["requests"],
        "per": limit["per"],
        "most": limit["burst"] or limit["requests"],
        "paths": _prefixes(every_version(limit["paths"], settings)),
    }


def _consumers(settings: dict[str, Any], context: Context) -> dict[str, Any] | None:
    """Keys are known by their digests: a look-up takes as long for a wrong one as for a right one."""
    keys = settings["keys"]
    if not keys:
        return None
    plans = {plan["name"]: plan for plan in keys["plans"]}
    found = api_keys(keys, context)
    return {
        "header": keys["header"],
        "paths": _prefixes(every_version(keys["paths"], settings)),
        "digests": {hashlib.sha256(key.encode()).hexdigest(): consumer for consumer, key in found.items()},
        "plans": {consumer: plans[plan] for consumer, plan in keys["consumers"].items() if plan},
    }


def _certificates(settings: dict[str, Any]) -> dict[str, Any] | None:
    mtls = settings["mtls"]
    if not mtls:
        return None
    paths = _prefixes(every_version(mtls["paths"], settings))
    return {"consumers": {f"CN={name}": who for name, who in mtls["consumers"].items()}, "paths": paths}


def _auth(settings: dict[str, Any], keys: list[dict[str, Any]]) -> dict[str, Any] | None:
    """algorithms: by the key's id, and under '' those of every key, for tokens that name none."""
    auth = settings["auth"]
    if not auth:
        return None
    algorithms: dict[str, list[str]] = {"": sorted({key["alg"] for key in keys})}
    for key in keys:
        algorithms.setdefault(str(key.get("kid", "")), []).append(key["alg"])
    return {
        "issuer": auth["issuer"],
        "audience": auth["audience"],
        "skew": auth["clock_skew"],
        "paths": _prefixes(token_paths(settings)),
        "algorithms": algorithms,
    }


def _table(role: Role, table: list[Routed]) -> dict[str, Any]:
    """The routes, and by path which of them could be meant, the most specific first."""
    exact: dict[str, list[int]] = {}
    prefixes: dict[str, list[int]] = {}
    templates: dict[str, list[tuple[str, list[int]]]] = {}
    for number, each in enumerate(table):
        if each.match == "exact":
            exact.setdefault(each.path, []).append(number)
        elif each.match == "prefix":
            prefixes.setdefault(each.path, []).append(number)
        else:
            segments = str(each.path.count("/") + 1)
            templates.setdefault(segments, []).append((f"^{each.pattern}$", [number]))
    every = [_routed(role, number, each) for number, each in enumerate(table)]
    if role.settings.get("document"):
        exact.setdefault(role.settings["openapi"], []).insert(0, len(every))
        every.append(
            {"name": "openapi", "document": True, "methods": ["GET", "HEAD"], "hosts": [], "headers": []}
        )
    return {"all": every, "exact": exact, "prefixes": prefixes, "templates": templates}


def _routed(role: Role, number: int, route: Routed) -> dict[str, Any]:
    canary = route.canary and {
        "up": up(role, route.canary["to"]),
        "weight": route.canary["weight"],
        "header": route.canary["header"],
    }
    cut = route.cut if route.match == "template" else route.path
    return {
        "at": f"gw_r{number}",
        "name": route.name,
        "methods": route.methods,
        "hosts": route.hosts,
        "headers": list(route.headers.items()),
        "up": up(role, route.upstream),
        "canary": canary or None,
        "cut": cut if route.rewrite is not None else None,
        "behind": "" if route.match == "template" else route.rewrite,
        "mirror": route.mirror["percent"] if route.mirror else 0,
        "again": route.retries > 0,
        "request": _shape(route.request_body, route),
        "response": _shape(route.response_body, None),
    }


def _shape(template: Any, route: Routed | None) -> dict[str, Any] | None:
    """What json.js and bodies.js need of a template. route: whose address its names may be parts of."""
    if template is None:
        return None
    path = route.path if route and route.match == "template" else ""
    fields = templates.fields(template, path)
    pieces = re.split(r"\{[^}/]+\}", path)
    return {
        "parts": [
            part if isinstance(part, str) else {"name": part[0], "whole": part[1]}
            for part in templates.parts(template)
        ],
        "wanted": templates.tree(fields),
        "needs": bool(fields),
        "headers": templates.headers(template),
        "path": f"^{'([^/]+)'.join(re.escape(piece) for piece in pieces)}/?$" if path else "",
        "params": templates.params(path),
    }
