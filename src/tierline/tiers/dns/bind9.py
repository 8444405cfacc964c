"""dns.bind9: BIND 9, a view per group of clients."""

from __future__ import annotations

from tierline.tiers.base import System


class Bind9(System):
    title = "BIND 9"
    engine = "bind9"
    levels = frozenset({"runs"})
    supports = frozenset(
        {
            "simple", "multivalue", "latency", "geography", "failover", "health_checks", "rate_limit", "transfers", "raw",
        }
    )  # fmt: skip
    lacks = {
        "weighted": "BIND gives all of a name's addresses in random order, so all places get the same share; "
        "use dns=powerdns or dns=embedded",
        "ecs": "BIND does not look at EDNS client subnets, so clients are where their resolver is; "
        "use dns=powerdns or dns=embedded",
        "hops": "BIND does not read the trace of a query, so the trip's dns hop is measured by its client",
    }
    endpoints = {"dns": "dns"}
