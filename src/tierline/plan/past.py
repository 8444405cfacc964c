"""Past the cache: what it keeps nothing of needn't go through it.

    client ─▶ lb ─▶ cache ─▶ gateway      what a copy may answer, and what the cache hasn't judged yet
               └──────────▶ gateway       what it has, four times in a row: for two seconds, then it judges again

The cache says so in an answer, in `X-Tierline-Past: <seconds>`, to a balancer that heeds it; strangers never see the
field. A process that only passes requests on still reads, writes and logs each of them, which is a quarter of what a
request costs that no copy can answer. A trip shows the cache's hop all the same, with the verdict `pass`.
"""

from __future__ import annotations

from tierline.plan.model import Plan, Role
from tierline.tiers.base import system

HEADER = "x-tierline-past"
SECONDS = 2
"""How long a balancer takes the cache at its word."""


def passed(plan: Plan, balancer: Role) -> Role | None:
    """The cache that this balancer may pass by; None when each request must go through.

    Only when the balancer would choose its own zone's cache anyway and that one its gateway: with weights, sticky
    sessions, hashing, a bound per instance or `zone_aware=False` it stays in the way, as it does with lines of a user's
    own in its configuration, and with `--no-fusion`.
    """
    settings = balancer.settings
    if not plan.fusion or balancer.tier != "lb" or not system(balancer.slot, balancer.system).heeds_past:
        return None
    if settings["balance"] == "consistent_hash" or not settings["zone_aware"] or settings["h2c"]:
        return None
    if settings["weights"] or settings["sticky"] or settings["per_instance"]:
        return None
    roles = plan.roles
    near = [each for upstreams in balancer.upstreams.values() for each in upstreams if each.distance == 0]
    if len(near) != 1 or (cache := roles[near[0].role]).tier != "cache" or cache.settings["raw"]:
        return None
    if not system(cache.slot, cache.system).tells_past:
        return None
    behind = [roles[each.role].tier for upstreams in cache.upstreams.values() for each in upstreams]
    return cache if behind and set(behind) == {"gateway"} else None


def told(plan: Plan, cache: Role) -> bool:
    """Whether a balancer waits for this cache's word."""
    found = (passed(plan, role) for role in plan.roles.values() if role.tier == "lb")
    return any(each is not None and each.id == cache.id for each in found)
