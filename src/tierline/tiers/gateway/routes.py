"""Which path goes to which role: the same for every gateway."""

from __future__ import annotations

import re
from typing import Literal

from tierline.plan.model import Plan, Role

Match = Literal["exact", "prefix", "template"]


def routes(role: Role, plan: Plan) -> list[tuple[str, Match, str]]:
    """(path, how it matches, upstream name), the most specific first: exact paths, then templates (as
    regular expressions), then prefixes from the longest to the shortest."""
    found: list[tuple[str, Match, str]] = []
    if "experience" in role.upstreams:
        journeys = next(r for r in plan.roles.values() if r.name == "experience").settings["journeys"]
        for journey in journeys:
            path = journey["path"]
            if "{" in path:
                pattern = re.sub(r"\\\{[^}/]+\\\}", "[^/]+", re.escape(path).replace("/", "/"))
                found.append((pattern.replace("\\-", "-"), "template", "experience"))
            else:
                found.append((path, "exact", "experience"))
    for name in role.upstreams:
        exposed: list[str] = next(
            (
                r.settings["expose"]
                for r in plan.roles.values()
                if r.name == name and r.slot == "feature.service"
            ),
            [],
        )
        found += [(path.rstrip("/") or "/", "prefix", name) for path in exposed]
    names = [r for r in plan.roles.values() if r.slot == "dns"]
    if names and names[0].settings["health"] and role.upstreams:
        # A place is healthy when a request gets all the way to what answers its requests.
        found.append((names[0].settings["health"], "exact", next(iter(role.upstreams))))
    rank = {"exact": 0, "template": 1, "prefix": 2}
    return sorted(found, key=lambda route: (rank[route[1]], -len(route[0]), route[0]))
