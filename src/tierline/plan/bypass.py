"""Bypass: requests that no shared copy can answer go from the balancer straight to the gateway.

    client ─▶ lb ─▶ cache ─▶ gateway      what a copy may answer
               └──────────▶ gateway       paths that need a token, a key or a login, private journeys and services,
                                          and what HTTPCache(bypass=) names

The rules are in order, and the first that fits the path decides. Either way is safe: the gateway judges each request,
and the cache obeys what answers say. The balancers of all engines write them as plain configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from tierline.plan.model import Loss, Plan, Role, Unit, Upstream
from tierline.plan.placement import Line
from tierline.stack import Stack
from tierline.tiers.base import system
from tierline.tiers.gateway.common.routes import Routed, every_version, login_paths, routes, token_paths

FEATURE = "bypass"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Requests for `path` go to the gateway, or, when a later rule would take more than it should, to the cache."""

    path: str
    """As the stack has it; templates with their braces."""
    match: Literal["exact", "prefix", "template"]
    """prefix: the path and all below it, by whole segments."""
    pattern: str
    """A regular expression over the whole path, in the syntax that PCRE, POSIX and RE2 share."""
    to: Literal["gateway", "cache"]
    why: str


def bypassed(stack: Stack, plan: Plan) -> Plan:
    """The plan with the rules in its balancers, and the gateways among what they send requests to."""
    roles = plan.roles
    gateway = next((role for role in roles.values() if role.slot == "gateway"), None)
    found = tuple(_rules(stack, gateway, plan)) if gateway is not None else ()
    if not found:
        return plan

    def changed(role: Role) -> Role:
        behind = _behind_the_cache(role, roles)
        if not behind or FEATURE not in system(role.slot, role.system).supports:
            return role
        (first, targets), *others = role.upstreams.items()
        return msgspec.structs.replace(
            role,
            settings={**role.settings, FEATURE: [msgspec.to_builtins(rule) for rule in found]},
            upstreams={first: targets, "gateway": behind, **dict(others)},
        )

    units: tuple[Unit, ...] = tuple(
        msgspec.structs.replace(unit, roles=tuple(map(changed, unit.roles))) for unit in plan.units
    )
    return msgspec.structs.replace(plan, units=units)


def rules(role: Role) -> list[Rule]:
    """The rules of a balancer, in order; empty: every request goes to the next tier."""
    return msgspec.convert(role.settings.get(FEATURE, []), list[Rule])


def losses(stack: Stack, line: Line) -> Iterator[Loss]:
    """What the stack asks to bypass the cache and this line can't send another way. What needs a token or a login
    isn't asked for by name: where it goes through the cache, nothing of it is kept."""
    asked = [
        *(["HTTPCache(bypass=)"] if stack.cache is not None and stack.cache.bypass else []),
        *(f"Journey({each.name!r}, private=True)" for each in stack.journeys if each.private),
        *(f"Service({each.name!r}, private=True)" for each in stack.services if each.private),
    ]
    if not asked or stack.cache is None:
        return
    tier, why = "cache", ""
    if stack.lb is None:
        why = "no load balancer is in front of the cache, so each request goes through it"
    elif stack.gateway is None:
        why = "no gateway is behind the cache, so each request goes through it"
    elif FEATURE not in line.system("lb").supports:
        tier = "lb"
        why = line.system("lb").lacks.get(FEATURE, f"{line.system('lb').title} doesn't do it")
    if why:
        names = ", ".join(asked)
        yield Loss(tier=tier, system=line.lineup[tier], feature=FEATURE, why=f"{names}: {why}")


def _behind_the_cache(balancer: Role, roles: dict[str, Role]) -> tuple[Upstream, ...]:
    """The gateways of a balancer whose next tier is a cache with gateways behind it, nearest first."""
    if balancer.slot != "lb" or not balancer.upstreams:
        return ()
    first = next(iter(balancer.upstreams.values()))
    if not first or roles[first[0].role].tier != "cache":
        return ()
    found = [
        Upstream(role.id, "http", int(role.zone != balancer.zone))
        for role in roles.values()
        if role.slot == "gateway"
    ]
    return tuple(sorted(found, key=lambda upstream: (upstream.distance, upstream.role)))


def _rules(stack: Stack, gateway: Role, plan: Plan) -> Iterator[Rule]:
    settings, seen = gateway.settings, set[str]()
    keys = every_version(list(settings["keys"]["paths"]), settings) if settings["keys"] else []
    asked = every_version(list(stack.cache.bypass), settings) if stack.cache is not None else []
    for paths, why in (
        (asked, "HTTPCache(bypass=)"),
        (token_paths(settings), "needs a token"),
        (keys, "needs an API key"),
        (login_paths(settings), "needs a login"),
    ):
        for path in paths:
            rule = _prefix(path.rstrip("/") or "/", why)
            if rule.pattern not in seen:
                seen.add(rule.pattern)
                yield rule
    yield from _of_routes(stack, routes(gateway, plan))


def _prefix(path: str, why: str) -> Rule:
    quoted = re.escape(path).replace("\\-", "-")
    pattern = "/.*" if path == "/" else f"{quoted}(/.*)?"
    return Rule(path=path, match="prefix", pattern=pattern, to="gateway", why=why)


def _of_routes(stack: Stack, found: list[Routed]) -> list[Rule]:
    """Rules of routes to what is private. A route with conditions beside its path says nothing of other requests for
    the path, so those go through the cache."""
    services = {each.name for each in stack.services if each.private}
    journeys = {each.path for each in (*stack.journeys, *stack.passages) if each.private}
    made: list[Rule] = []
    for route in found:
        named = "private journey" if route.upstream == "experience" else f"private service {route.upstream}"
        private = route.upstream in services or (
            route.upstream == "experience" and any(_same(route, path) for path in journeys)
        )
        conditions = route.methods or route.hosts or route.headers or route.canary
        made.append(
            Rule(
                path=route.path, match=route.match, pattern=route.pattern,
                to="gateway" if private and not conditions else "cache", why=named if private else "not private",
            )
        )  # fmt: skip
    made = [
        rule for number, rule in enumerate(made) if rule.pattern not in {r.pattern for r in made[:number]}
    ]
    return [
        rule
        for number, rule in enumerate(made)
        if rule.to == "gateway" or any(_overlaps(rule, later) for later in made[number + 1 :])
    ]


def _same(route: Routed, path: str) -> bool:
    """Whether the route is this journey's, in whatever version."""
    return route.path in (path, f"{route.cut}{path}")


def _overlaps(rule: Rule, later: Rule) -> bool:
    """Whether a later rule would send what this one keeps at the cache to the gateway."""
    if later.to != "gateway":
        return False
    if "template" in (rule.match, later.match):
        return True
    inside = later.path.rstrip("/") + "/"
    return later.match == "prefix" and (rule.path + "/").startswith(inside)
