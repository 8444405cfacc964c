"""Limits and time-outs: one budget for each path, from what the stack says; each tier in front holds it with a margin.

    client ──▶ cdn ──▶ lb ──▶ cache ──▶ gateway ──▶ service
                +3     +2       +1      max_body     by `held`: what each tier is configured with

So the tier whose setting a limit is refuses what is beyond, and says so; no tier in front of it speaks first. Of
several settings the narrowest one counts: a route's, then its service's, then the gateway's. A balancer or a CDN has
limits of its own only where the stack gives it some; the smallest of all tiers is a path's budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tierline.plan.model import Budget, Plan, Role

FIELDS: Mapping[str, str] = {
    "body": "max_body",
    "request_line": "max_url",
    "request_fields": "max_headers",
    "answer_fields": "max_response_headers",
    "first_byte": "timeout",
    "upload": "body_timeout",
    "idle": "idle_timeout",
    "total": "max_duration",
}
"""Limits of a budget, and the setting of a `Gateway`, `Route`, `Service`, `LoadBalancer` or `CDN` that says each."""

_DEFAULTS: Mapping[str, Any] = {
    "body": None,
    "request_line": 8 << 10,
    "request_fields": 32 << 10,
    "answer_fields": 32 << 10,
    "first_byte": 60.0,
    "upload": None,
    "idle": 3600.0,
    "total": None,
}
"""For lines without a gateway, whose settings have the same defaults, but for the body."""
CONNECT = 1.0
"""Seconds for a connection to the next tier, which is in the same region."""
FIELD_COUNT = 100
"""Request fields: enough for 60 cookies that a browser sends one by one, and for its other fields."""

ANSWERS: Mapping[str, str] = {
    "body": "413",
    "request_line": "414; 431 on Envoy, which counts it among the fields",
    "request_fields": "431; 400 on HAProxy, far beyond it",
    "field_count": "431, or 400",
    "answer_fields": "502",
    "connect": "another instance is tried, then 502 or 503",
    "first_byte": "504",
    "upload": "408, or the connection ends",
    "idle": "the end of the answer; 504 when none began",
    "total": "504, or the end of the answer",
}
"""What a client gets beyond a limit."""

_PATH = ("cdn", "lb", "cache", "gateway")
_OWNERS = {"cdn": "CDN", "lb": "LoadBalancer", "cache": "HTTPCache", "gateway": "Gateway"}
_MARGINS: Mapping[str, float] = {
    "body": 1 << 20,
    "request_line": 1 << 10,
    "request_fields": 4 << 10,
    "field_count": 28,
    "answer_fields": 4 << 10,
    "connect": 0,
    "first_byte": 5.0,
    "upload": 5.0,
    "idle": 5.0,
    "total": 5.0,
}
"""What a tier in front allows beyond the next one: what that one adds, and the time that it takes to refuse."""
_SLOWEST = 32 << 10
"""Bytes a second of the slowest upload that is waited for."""

Said = tuple[str, Mapping[str, Any]]
"""An owner's name, and what it says."""


def worked_out(plan: Plan) -> tuple[Budget, ...]:
    """The budgets of a plan's paths: the default first, then each path that has another one. None without an edge."""
    tiers = _tiers(plan)
    if not tiers:
        return ()
    first = _budget("default", "/", tiers, ())
    found = [first]
    gateway = next((role for role in plan.roles.values() if role.tier == "gateway"), None)
    for of, path, said in _paths(plan, gateway):
        each = _budget(of, path, tiers, said)
        if msgspec.structs.replace(each, of="default", path="/") != first:
            found.append(each)
    return tuple(found)


def find(plan: Plan, of: str, path: str = "") -> Budget:
    """The budget of a journey, service or route (`service catalog`); the default where it has no other."""
    budgets = plan.budgets or worked_out(plan)
    return next((each for each in budgets if each.of == of and path in ("", each.path)), budgets[0])


def held(plan: Plan, role: Role) -> Budget:
    """What the system of an edge role is configured with, for all paths together.

    `settings` has the limits that this role is the one to refuse; the others are those of the tiers behind it, with a
    margin. A gateway holds the widest of its routes, and each route's own besides.
    """
    budgets = plan.budgets or worked_out(plan)
    tiers = [tier for tier, _ in _tiers(plan)]
    steps = len(tiers) - 1 - tiers.index(role.tier) if role.tier in tiers else 0
    values: dict[str, Any] = {}
    settings: dict[str, str] = {}
    for field in _MARGINS:
        mine = [each for each in budgets if owner(each, field, tiers) == role.tier]
        values[field] = _widest([getattr(each, field) for each in budgets])
        if mine:
            settings[field] = mine[0].settings[field]
        elif values[field] is not None:
            # Also behind the tier that refuses: it mustn't be forestalled.
            away = max(1, steps) if any(field in each.settings for each in budgets) else steps
            values[field] += type(values[field])(_MARGINS[field] * away)
    return Budget(of=role.id, path="/", settings=settings, **values)


def refused_by(plan: Plan, role: Role) -> tuple[Budget, ...]:
    """The budgets of the paths, each with the settings alone that this role is the one to hold."""
    tiers = [tier for tier, _ in _tiers(plan)]
    return tuple(
        msgspec.structs.replace(
            each,
            settings={
                field: setting
                for field, setting in each.settings.items()
                if owner(each, field, tiers) == role.tier
            },
        )
        for each in plan.budgets or worked_out(plan)
    )


def patience(plan: Plan) -> float:
    """Seconds that a client waits for the beginning of an answer, so that the line is the one to give up."""
    budgets = plan.budgets or worked_out(plan)
    return max((each.first_byte for each in budgets), default=60.0) + _MARGINS["first_byte"] * (
        len(_PATH) + 1
    )


def owner(budget: Budget, field: str, tiers: Sequence[str]) -> str:
    """The tier that refuses what is beyond a limit; empty for a limit that isn't set."""
    said = budget.settings.get(field, "").partition(".")[0]
    if said in ("Route", "Service"):
        return tiers[-1] if tiers else ""
    return next((tier for tier, name in _OWNERS.items() if name == said), "")


def beyond(budget: Budget, field: str) -> str:
    """What a client is told that a limit stopped: `body larger than Gateway.max_body = 64 MiB`."""
    words = {
        "body": "body larger than",
        "request_line": "request line longer than",
        "request_fields": "fields larger than",
        "answer_fields": "its fields are larger than",
        "first_byte": "no answer within",
        "upload": "body not sent within",
        "idle": "silent for",
        "total": "not done within",
    }
    setting = budget.settings.get(field, FIELDS[field])
    return f"{words[field]} {setting} = {shown(field, getattr(budget, field))}"


def shown(field: str, value: float | None) -> str:
    """A limit for people: `64 MiB`, `50 s`, `1 h`."""
    if value is None:
        return "no limit"
    if field in ("field_count",):
        return f"{value:g}"
    if field in ("body", "request_line", "request_fields", "answer_fields"):
        for factor, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= factor and value % factor == 0:
                return f"{value / factor:g} {unit}"
        return f"{value:g} B"
    if value < 1:
        return f"{value * 1000:g} ms"
    return f"{value / 3600:g} h" if value % 3600 == 0 else f"{value:g} s"


def _tiers(plan: Plan) -> list[tuple[str, Role]]:
    """The edge tiers of the path, with a role of each, front to back."""
    roles = [role for role in plan.roles.values() if role.part != "origin"]
    found = [(tier, next((role for role in roles if role.tier == tier), None)) for tier in _PATH]
    return [(tier, role) for tier, role in found if role is not None]


def _paths(plan: Plan, gateway: Role | None) -> Iterator[tuple[str, str, tuple[Said, ...]]]:
    """What may have a budget of its own: whose it is, its path, and what is said of it, the narrowest first."""
    services = {role.name: role for role in plan.roles.values() if role.slot == "feature.service"}
    if gateway is None:
        return
    for number, route in enumerate(gateway.settings.get("routes", [])):
        name = route["to"] or _exposing(services, route["path"])
        of = (("Service", services[name].settings),) if name in services else ()
        yield f"route {number}", route["path"], (("Route", route), *of)
    for name, role in services.items():
        for path in role.settings.get("expose", ()):
            yield f"service {name}", path, (("Service", role.settings),)


def _exposing(services: Mapping[str, Role], path: str) -> str:
    """The service that exposes the longest prefix of a path."""
    found = [
        (len(prefix), name)
        for name, role in services.items()
        for prefix in role.settings.get("expose", ())
        if path == prefix or path.startswith(prefix.rstrip("/") + "/")
    ]
    return max(found)[1] if found else ""


def _budget(of: str, path: str, tiers: Sequence[tuple[str, Role]], narrow: Sequence[Said]) -> Budget:
    values: dict[str, Any] = {"connect": CONNECT, "field_count": FIELD_COUNT}
    settings: dict[str, str] = {}
    for field in FIELDS:
        values[field], setting = _least(field, tiers, narrow)
        if setting and values[field] is not None:
            settings[field] = setting
    if values["upload"] is None and values["body"] is not None:
        values["upload"] = 60.0 + values["body"] / _SLOWEST
        settings["upload"] = settings["body"]
    return Budget(of=of, path=path, settings=settings, **values)


def _least(field: str, tiers: Sequence[tuple[str, Role]], narrow: Sequence[Said]) -> tuple[Any, str]:
    """A limit of a path, and the setting that says it."""
    last = tiers[-1] if tiers else None
    whole: list[Said] = [(_OWNERS[last[0]], last[1].settings)] if last else []
    value = _DEFAULTS[field]
    setting = f"{whole[0][0]}.{FIELDS[field]}" if whole and FIELDS[field] in whole[0][1] else ""
    for name, said in (*narrow, *whole):
        if said.get(FIELDS[field]) is not None:
            value, setting = said[FIELDS[field]], f"{name}.{FIELDS[field]}"
            break
    for tier, role in reversed(tiers[:-1]):
        other = role.settings.get(FIELDS[field])
        if other is not None and (value is None or other < value):
            value, setting = other, f"{_OWNERS[tier]}.{FIELDS[field]}"
    return value, setting


def _widest(values: Sequence[Any]) -> Any:
    return None if None in values else max(values)
