"""Routes for gateway.haproxy: which one is a request's, what happens to it there, and how long it may take."""

from __future__ import annotations

import re

from tierline.engines.haproxy import budget, callers, onward
from tierline.engines.haproxy.parts import hosts
from tierline.plan.budgets import beyond
from tierline.plan.model import Budget
from tierline.tiers.gateway.common.routes import Routed


def rules_of(number: int, route: Routed, whole: Budget) -> str:
    """One route: its conditions, and what happens when it is the first that fits. whole: the gateway's budget."""
    name = f"r{number}"
    if route.match == "exact":
        lines = f"    acl {name} path {route.path}\n"
    elif route.match == "template":
        lines = f"    acl {name} path -m reg '^{route.pattern}$'\n"
    elif route.path == "/":
        lines = f"    acl {name} path_beg /\n"
    else:
        lines = f"    acl {name} path {route.path}\n    acl {name} path_beg {route.path}/\n"
    asked = name
    if route.methods:
        asked += f" {{ method {' '.join(route.methods)} }}"
    if route.hosts:
        asked += f" {{ {hosts(route.hosts)} }}"
    for header, value in route.headers.items():
        asked += f" {{ req.hdr({header}) -m str '{value}' }}"
    mine = f"{{ var(txn.route) -m str {name} }}"
    lines += (
        f"    http-request set-var(txn.route) str({name}) if {asked} !{{ var(txn.route) -m found }}\n"
        f"    http-request set-var(txn.up) str({route.upstream}) if {mine}\n"
        f"    http-request set-var(txn.named) str({route.name}) if {mine}\n"
    )
    if route.budget.first_byte != whole.first_byte:
        lines += f'    http-request set-var(txn.wait) str("{beyond(route.budget, "first_byte")}") if {mine}\n'
    if route.budget.body != whole.body:
        lines += callers.too_large(route.budget, mine)
    if route.canary:
        to = f"http-request set-var(txn.up) str({route.canary['to']}) if {mine}"
        if route.canary["weight"]:
            lines += f"    {to} {{ rand(100) lt {route.canary['weight']} }}\n"
        if route.canary["header"]:
            lines += f"    {to} {{ req.hdr({route.canary['header']}) -m found }}\n"
    if route.rewrite is not None:
        lines += f"    http-request replace-path {_rewrite(route)} if {mine}\n"
    return lines + changes(route.request, route.response, f" if {mine}")


def _rewrite(route: Routed) -> str:
    quoted = re.escape(route.cut if route.match == "template" else route.path).replace("\\-", "-")
    if route.match == "template":
        return f"'^{quoted}(.*)$' '\\1'"
    if route.rewrite == "/":
        return f"'^{quoted}/?(.*)$' '/\\1'"
    return f"'^{quoted}(.*)$' '{route.rewrite}\\1'"


def changes(request: dict[str, str | None], response: dict[str, str | None], condition: str) -> str:
    """Headers of requests and answers set, or removed (None)."""
    lines = ""
    for kind, given in (("http-request", request), ("http-after-response", response)):
        for header, value in given.items():
            what = f"del-header {header}" if value is None else f"set-header {header} {_quoted(value)}"
            lines += f"    {kind} {what}{condition}\n"
    return lines


def _quoted(value: str) -> str:
    """A value as a log-format string: quotes of its own are for the configuration, these are for the header."""
    return "'" + value.replace("%", "%%") + "'"


def breaker(name: str, up: str, concurrency: int | None) -> str:
    """Refuses what is more at once than a service may have."""
    if not concurrency:
        return ""
    asked = f"{{ var(txn.up) -m str {up} }} {{ be_conn({name}-{up}) ge {concurrency} }}"
    return callers.refuse(503, "too many at once", asked)


def deadline(number: int, route: Routed, whole: Budget) -> str:
    """A route's own bounds, for every backend. whole: the gateway's budget."""
    mine = f"{{ var(txn.route) -m str r{number} }}"
    lines = ""
    own = route.budget
    if (own.first_byte, own.idle) != (whole.first_byte, whole.idle):
        lines += f"    http-request set-timeout server {budget.time(own.first_byte)} if {mine}\n"
        lines += f"    http-request set-timeout server {budget.time(own.idle)} if {mine} {budget.EVENTS}\n"
        lines += f"    http-request set-timeout tunnel {budget.time(own.idle)} if {mine}\n"
    if route.retries == 0:
        lines += f"    http-request disable-l7-retry if {mine}\n"
    return lines


def detours_of(table: list[Routed]) -> list[onward.Detour]:
    """The routes with bodies to shape or a mirror."""
    return [
        onward.Detour(
            name=f"r{number}",
            path=route.path if route.match == "template" else "",
            timeout=route.timeout,
            request=route.request_body,
            response=route.response_body,
            mirror=route.mirror["to"] if route.mirror else "",
            percent=route.mirror["percent"] if route.mirror else 100,
        )
        for number, route in enumerate(table)
        if route.request_body is not None or route.response_body is not None or route.mirror
    ]
