"""feature.limits: the line's counter, for gateways that count limits and quotas together."""

from __future__ import annotations

from tierline.tiers.base import System


class Limits(System):
    title = "tierline counter"
    engine = "counter"
    levels = frozenset({"runs"})
    endpoints = {"http": "http"}
