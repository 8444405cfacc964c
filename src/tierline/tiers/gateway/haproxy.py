"""gateway.haproxy: routes, tokens, keys, limits and access on HAProxy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tierline.engines.context import Context
from tierline.engines.haproxy import budget, callers, limits, login, onward
from tierline.engines.haproxy.budget import unheld as limits_unheld
from tierline.engines.haproxy.engine import Fragment, trace
from tierline.engines.haproxy.forwarded import described, paths
from tierline.engines.haproxy.parts import door, servers
from tierline.engines.haproxy.serving import document
from tierline.engines.unkeyed import OVERRIDES
from tierline.plan.budgets import beyond, held, shown
from tierline.plan.model import Budget, Plan, Role
from tierline.plan.scaling import measuring
from tierline.tiers.base import System, system
from tierline.tiers.gateway.common import haproxy_login as logins
from tierline.tiers.gateway.common.haproxy_routes import breaker, changes, deadline, detours_of, rules_of
from tierline.tiers.gateway.common.routes import api_keys, limit_name, routes, token_paths, under
from tierline.tiers.gateway.tier import FEATURES


class HAProxyGateway(System):
    title = "HAProxy"
    engine = "haproxy"
    measures = True
    levels = frozenset({"runs"})
    supports = frozenset(FEATURES) - {"retry_budget", "request_trailers"}
    lacks = {
        **dict.fromkeys(("refusal-host", "refusal-malformed", "refusal-huge", "refusal-slow"), callers.PAGES),
        "wire-http10-chunks": "HAProxy hands chunks of a service on to a client of HTTP/1.0",
        "retry_budget": "retries are bounded per request only; use gateway=envoy",
        "wire-date-refused": "HAProxy doesn't date its answers to what it can't parse",
        "wire-two-equal-hosts": "HAProxy takes the same Host twice for one",
        "request_trailers": "a body that has them doesn't say how long it is: 411; use gateway=envoy",
        "unsized-uploads": "HAProxy counts no body: one that doesn't say how long it is gets 411, unless nginx in front counts",
    }
    endpoints = {"http": "http", "mtls": "https"}

    def unheld(self, role: Role, budget: Budget) -> Mapping[str, str]:
        found = limits_unheld(budget)
        whole = any(
            route["mirror"] or route["request_body"] is not None or route["response_body"] is not None
            for route in role.settings["routes"]
        )
        if whole and "body" in budget.settings and (budget.body or 0) > onward.LARGEST:
            found["max_body"] = (
                "HAProxy reads a body that it shapes or mirrors whole, into "
                f"{shown('body', onward.LARGEST)} at most: a larger one gets 413 there"
            )
        return found

    def contribute(self, role: Role, context: Context) -> Fragment:
        settings, name = role.settings, role.id.replace(".", "-")
        host, port = context.address(role.id, "http")
        own = held(context.plan, role)
        rules, tables, files, counters = _policies(role, context)
        table = routes(role, context.plan)
        detours = detours_of(table)
        files |= callers.refusal(own, context.folder(context.unit_of(role.id)))
        wait, texts = budget.waited(own, (route.budget for route in table))
        served, long = "", beyond(own, "request_line")
        if settings.get("document"):
            folder = context.folder(context.unit_of(role.id))
            served, more = document(name, settings["openapi"], settings["document"], folder)
            files |= more
        uncounted = _uncounted(role, context.plan, [route.budget for route in table], own)
        unbounded = "" if uncounted is None else callers.unbounded(uncounted)
        if detours:
            files |= onward.program(
                detours,
                min(own.body or onward.LARGEST, onward.LARGEST),
                context.folder(context.unit_of(role.id)),
            )
        # fmt: off
        frontend = f"""\
frontend {name}
    bind {host}:{port}
{_door(role, context)}\
{budget.frontend(own)}{callers.errors(texts)}\
{trace(role, measured=measuring(role, context.plan))}\
{callers.too_many(own)}{described(role, context)}\
    http-request set-var(txn.verdict) str(allowed)
{wait}\
    # With one of these a service would see another request than the rules here.
    http-request del-header ^({"|".join(name.lower() for name in OVERRIDES)})$ -m reg
    http-request set-var(txn.client) req.hdr_ip(x-forwarded-for,-1)
{onward.ASKED if detours else ""}\
{paths(context)}\
{rules}\
{served}\
{"".join(rules_of(number, route, own) for number, route in enumerate(table))}\
{callers.refuse(414, "too long", f"{{ pathq,length gt {own.request_line} }}", policy="max_url", detail=long)}\
{callers.refuse(404, "no route", "!{ var(txn.up) -m found }")}\
{changes(settings["request"], settings["response"], "")}\
{"".join(breaker(name, up, settings["concurrency"]) for up in role.upstreams)}\
{"    " + settings["raw"] + chr(10) if settings["raw"] else ""}\
{onward.rules(detours, uncounted) if detours else unbounded}\
    use_backend {name}-%[var(txn.up)]

{onward.behind(name, own, texts) if detours else ""}"""
        # fmt: on
        for up, targets in role.upstreams.items():
            frontend += (
                f"backend {name}-{up}\n    balance leastconn\n    retries {settings['retries'] + 2}\n"
                f"{budget.backend(own)}"
                "    retry-on conn-failure empty-response 0rtt-rejected 503\n"
                + "".join(deadline(number, route, own) for number, route in enumerate(table))
                + servers(targets, context, {})
                + "\n"
            )
        shared = limits.peers(role.id, _others(role, context)) if counters else ""
        return Fragment(
            sections=shared + frontend + tables + logins.sections(role, context),
            budget=own,
            headroom=login.HEADROOM if settings["login"] else 0,
            files=files,
            counters=counters,
            peer=role.id if counters else "",
        )


def _uncounted(role: Role, plan: Plan, routed: Sequence[Budget], own: Budget) -> str | None:
    """Which requests' bodies nobody counts that don't say how long they are, as a condition; None: no request's.

    A tier in front may have counted them. Callers with a certificate come by themselves, and nobody in front knows the
    limits of single routes.
    """
    roles = [each for each in plan.roles.values() if each.part != "origin"]
    first = [each for each in roles if each.tier == "lb"] or [each for each in roles if each.tier == "cdn"]
    counted = bool(first) and all(system(each.slot, each.system).counts_bodies for each in first)
    if not counted or role.settings["mtls"]:
        return ""
    narrow = " ".join(f"r{number}" for number, budget in enumerate(routed) if budget.body != own.body)
    return f"{{ var(txn.route) -m str {narrow} }}" if narrow else None


def _others(role: Role, context: Context) -> dict[str, str]:
    """The line's other gateways, and where their units' folders are from this one's."""
    here = context.folder(context.unit_of(role.id))
    return {
        each.id: os.path.relpath(context.folder(context.unit_of(each.id)), here)
        for each in context.plan.roles.values()
        if each.name == role.name and each.id != role.id
    }


def _door(role: Role, context: Context) -> str:
    """The listener for those who come with a certificate."""
    if not role.settings["mtls"]:
        return ""
    host, port = context.address(role.id, "mtls")
    given = role.settings["mtls"]["ca"]
    ca = context.project / given if given else context.authority
    crt = door(role, context, "mtls")
    return f"    bind {host}:{port} ssl crt {crt} alpn h2,http/1.1 ca-file {ca} verify required\n"


def _policies(role: Role, context: Context) -> tuple[str, str, dict[str, str], int]:
    """Rules in their order (see engines/haproxy/callers.py), tables, files and how many counters there are."""
    settings, folder = role.settings, context.folder(context.unit_of(role.id))
    files: dict[str, str] = {}
    access = [{**rule, "match": under(rule["paths"], settings)} for rule in settings["access"]]
    early = [rule for rule in access if not rule["claims"] and not rule["scopes"]]
    limited = [_limit(each, settings, number) for number, each in enumerate(settings["limits"])]
    before = [each for each in limited if each["by"] != "consumer"]
    after = [each for each in limited if each["by"] == "consumer"] + _quotas(settings["keys"])
    gateways = (role.id, *sorted(_others(role, context)))
    rules = callers.cors(settings["cors"]) if settings["cors"] else ""
    rules += "".join(callers.access(rule, number) for number, rule in enumerate(early))
    tables, counters = "", 0
    for each in before:
        more, table = limits.limit(counters, f"limit-{counters}", gateways, each)
        rules, tables, counters = rules + more, tables + table, counters + 1
    rules += callers.too_large(held(context.plan, role))
    if settings["mtls"]:
        mtls = settings["mtls"]
        made, found = callers.certificates(mtls["consumers"], under(mtls["paths"], settings), folder)
        rules, files = rules + made, {**files, **found}
    if settings["keys"]:
        keys = settings["keys"]
        made, found = callers.keys(
            keys["header"], api_keys(keys, context), under(keys["paths"], settings), folder
        )
        rules, files = rules + made, {**files, **found}
        rules += _consumer_plans(keys)
    if settings["login"]:
        made, found = logins.known(role, context)
        rules, files = rules + made, {**files, **found}
    if settings["auth"]:
        jwks = context.attribute_of(role.name, "jwks")
        match = under(token_paths({**settings, "version_by": "header"}), settings)
        made, found = callers.tokens(settings["auth"], jwks, match, folder, bool(settings["login"]))
        rules, files = rules + made, {**files, **found}
    if settings["login"]:
        rules += login.needed(bool(settings["auth"]))
    if settings["auth"] or settings["login"]:
        rules += (
            "    http-request set-var(txn.consumer) var(txn.subject) unless { var(txn.consumer) -m found }\n"
        )
    late = [rule for rule in access if rule not in early]
    rules += "".join(callers.access(rule, len(early) + number) for number, rule in enumerate(late))
    rules += limits.CALLED if any(each["key"] == limits.CALLER for each in after) else ""
    for each in after:
        more, table = limits.limit(counters, f"limit-{counters}", gateways, each)
        rules, tables, counters = rules + more, tables + table, counters + 1
    rules += callers.PRIVATE if settings["keys"] or settings["auth"] or settings["login"] or access else ""
    return rules + (limits.LEFT if counters else ""), tables, files, counters


def _limit(limit: dict[str, Any], settings: dict[str, Any], number: int) -> dict[str, Any]:
    key = {"all": "str(all)", "client": "var(txn.client)", "consumer": limits.CALLER}[limit["by"]]
    return {
        **limit,
        "key": key,
        "match": under(limit["paths"], settings) if limit["paths"] else None,
        "policy": limit_name(limit, number),
    }


def _quotas(keys: dict[str, Any] | None) -> list[dict[str, Any]]:
    plans = keys["plans"] if keys else []
    return [
        {
            **plan, "burst": None, "match": None, "key": "var(txn.consumer)",
            "when": f"{{ var(txn.plan) -m str {plan['name']} }}", "policy": f"quota:{plan['name']}",
        }
        for plan in plans
    ]  # fmt: skip


def _consumer_plans(keys: dict[str, Any]) -> str:
    return "".join(
        f"    http-request set-var(txn.plan) str({plan}) if {{ var(txn.consumer) -m str {consumer} }}\n"
        for consumer, plan in keys["consumers"].items()
        if plan
    )
