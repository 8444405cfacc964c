"""From what a dns role says to the server's configuration, as plain data.

A route is `{"kind": …}` over the regions that the role's targets stand in:

    {"kind": "simple"}                                     the first healthy one, nearest first, for everyone
    {"kind": "multivalue"}                                 all healthy ones, at most 8 targets
    {"kind": "latency", "table": {one: {other: ms}}}       the table, if any, goes before our own
    {"kind": "failover", "order": [a, b]}                  without an order: nearest first
    {"kind": "weighted", "weights": {a: 3, b: 1}}          who is not named has no share; none: all alike
    {"kind": "geography", "rules": {"DE": a, "EU": b, "default": c}}

`to: [a, b]` narrows simple, multivalue and latency. Two letters that name a continent and a country (AF, AS,
NA, SA) mean the continent; `country:NA` means the country. Wherever a region stands, a further route may.
"""

from __future__ import annotations

from typing import Any

from tierline.engines.answers.continents import CONTINENTS
from tierline.errors import PlanError, choices, nearest

_FIELDS = {
    "failover": {"order", "to"},
    "geography": {"rules"},
    "latency": {"table", "to"},
    "multivalue": {"limit", "to"},
    "simple": {"to"},
    "weighted": {"weights"},
}


def node(given: object, regions: list[str], where: str = "route") -> Any:
    """A route as a node of the configuration (policy.py). Raises PlanError with what is allowed.

    `regions`: those that have targets, nearest first.
    """
    if isinstance(given, str):
        if given not in regions:
            raise PlanError(
                f"dns {where}: no place {given!r}{nearest(given, regions)} there are {choices(regions)}"
            )
        return given
    kind = str(given.get("kind")).lower() if isinstance(given, dict) else str(given)
    if not isinstance(given, dict) or kind not in _FIELDS:
        raise PlanError(
            f"dns {where}: no policy {kind!r}{nearest(kind, _FIELDS)} there are {choices(_FIELDS)}"
        )
    for field in given.keys() - _FIELDS[kind] - {"kind"}:
        raise PlanError(
            f"dns {where}: {kind} has no field {field!r}{nearest(field, _FIELDS[kind])} "
            f"it has {choices(_FIELDS[kind])}"
        )
    if kind == "weighted":
        weights = given.get("weights") or dict.fromkeys(regions, 1)
        shares = weights.items() if isinstance(weights, dict) else weights
        return {
            "kind": kind,
            "to": [{"to": node(to, regions, f"{where}, weights"), "weight": weight} for to, weight in shares],
        }
    if kind == "geography":
        return _geography(given.get("rules") or {}, regions, where)
    to = [node(one, regions, f"{where}, {kind}") for one in given.get("order") or given.get("to") or regions]
    limit = 1 if kind == "simple" else given.get("limit")
    return {"kind": kind, "to": to} | ({"limit": limit} if limit else {})


def _geography(rules: dict[str, Any], regions: list[str], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "geography", "country": {}, "continent": {}}
    for rule, to in rules.items():
        below = node(to, regions, f"{where}, {rule}")
        scope, _, code = rule.rpartition(":")
        if rule == "default":
            found["default"] = below
        elif scope not in ("", "country", "continent") or len(code) != 2 or not code.isalpha():
            raise PlanError(
                f"dns {where}: no rule {rule!r}; there are country codes (DE), continent codes "
                f"({', '.join(CONTINENTS)}), 'country:NA', 'continent:NA' and 'default'"
            )
        else:
            code = code.upper()
            found[scope or ("continent" if code in CONTINENTS else "country")][code] = below
    return found


def tables(given: object) -> dict[str, dict[str, float]]:
    """The latency tables that a route's policies bring; a direction that is not given is as the other.

    A table is `{one: {other: ms}}` or `{"one/other": ms}`.
    """
    found: dict[str, dict[str, float]] = {}
    if isinstance(given, dict):
        pairs = []
        for one, row in (given.get("table") or {}).items():
            if isinstance(row, dict):
                pairs += [(one, other, ms) for other, ms in row.items()]
            else:
                first, slash, second = one.partition("/")
                if not slash:
                    raise PlanError(
                        f"dns route: latency table {one!r} is not 'region/region' or a dict of regions"
                    )
                pairs.append((first, second, row))
        for one, other, ms in pairs:
            found.setdefault(one, {})[other] = ms
            found.setdefault(other, {}).setdefault(one, ms)
        for value in given.values():
            for one, row in tables(value).items():
                found.setdefault(one, {}).update(row)
    elif isinstance(given, list | tuple):
        for value in given:
            for one, row in tables(value).items():
                found.setdefault(one, {}).update(row)
    return found


def zone(settings: dict[str, Any], listen: str, regions: list[str]) -> dict[str, Any]:
    """The zone of a role's domain: NS and SOA, the routed apex, `www`, and the user's own records."""
    ttl = max(0, round(settings.get("ttl", 60)))
    kind = "AAAA" if ":" in listen else "A"
    records = [_record(record) for record in settings.get("records") or []]
    owners = {record["name"].rstrip(".") for record in records}
    if not owners & {"ns1", f"ns1.{settings['domain']}"}:
        records.append({"name": "ns1", "type": kind, "values": [listen]})
    if not owners & {"www", f"www.{settings['domain']}"}:
        records.append({"name": "www", "type": "CNAME", "values": ["@"]})
    return {
        "name": settings["domain"],
        "soa": {"primary": "ns1", "minimum": ttl},
        "ns": ["ns1"],
        "ttl": ttl,
        "records": records,
        "routes": [{"name": "@", "to": node(settings.get("route") or {"kind": "latency"}, regions)}],
    }


def _record(given: dict[str, Any]) -> dict[str, Any]:
    """A record with `value` or `values`; a name that is missing is the domain itself."""
    values = given.get("values", given.get("value", []))
    found = {
        "name": given.get("name") or "@",
        "type": str(given["type"]).upper(),
        "values": [values] if isinstance(values, str) else list(values),
    }
    return found if given.get("ttl") is None else found | {"ttl": round(given["ttl"])}
