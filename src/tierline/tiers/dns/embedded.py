"""dns.embedded: tierline's own authoritative answering server."""

from __future__ import annotations

from tierline.tiers.base import System


class EmbeddedDNS(System):
    title = "tierline answers"
    engine = "answers"
    levels = frozenset({"runs"})
    supports = frozenset(
        {
            "simple", "multivalue", "latency", "weighted", "geography", "failover", "health_checks", "ecs",
            "rate_limit", "transfers", "raw", "hops",
        }
    )  # fmt: skip
    endpoints = {"dns": "dns"}
