"""dns.powerdns: PowerDNS with its geoip backend."""

from __future__ import annotations

from tierline.tiers.base import System


class PowerDNS(System):
    title = "PowerDNS"
    engine = "powerdns"
    levels = frozenset({"runs"})
    supports = frozenset(
        {
            "simple", "multivalue", "latency", "weighted", "geography", "failover", "health_checks", "ecs",
            "raw",
        }
    )  # fmt: skip
    lacks = {
        "transfers": "PowerDNS's geoip backend can't list a zone; use dns=bind9 or dns=embedded",
        "rate_limit": "PowerDNS leaves limiting strangers to dnsdist in front of it; "
        "use dns=bind9 or dns=embedded where strangers can reach it",
        "hops": "PowerDNS does not read the trace of a query, so the trip's dns hop is measured by its client",
    }
    endpoints = {"dns": "dns"}
