"""What a stack file imports, and nothing else.

Names are loaded on first use: `import tierline` costs almost nothing, and a stack pays only for what it says.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tierline.journeys import HTML, Journey
    from tierline.journeys import Cache as PartCache
    from tierline.stack import Stack
    from tierline.tiers.analytics.tier import Telemetry
    from tierline.tiers.cache.tier import HTTPCache
    from tierline.tiers.cdn.tier import CDN, CDNRule, Countries
    from tierline.tiers.client.tier import Affiliate, Mobile, Visit, Web
    from tierline.tiers.core.tier import Cache, Sessions
    from tierline.tiers.dns.common.registration import Registration
    from tierline.tiers.dns.tier import (
        DNS,
        Failover,
        Geography,
        Latency,
        Multivalue,
        Record,
        Simple,
        Weighted,
    )
    from tierline.tiers.domain.tier import Relational, Table
    from tierline.tiers.feature.common.season import Season
    from tierline.tiers.feature.tier import (
        Bucket,
        Function,
        Mail,
        Queue,
        Scale,
        Service,
        Stream,
        Topic,
    )
    from tierline.tiers.gateway.tier import (
        JWT,
        MTLS,
        OIDC,
        Access,
        APIKeys,
        Canary,
        Gateway,
        Mirror,
        Quota,
        RateLimit,
        Route,
        Version,
    )
    from tierline.tiers.lb.tier import ACME, LoadBalancer

__version__ = "0.1.0"

_HOMES = {
    "tierline.stack": ("Stack",),
    "tierline.tiers.client.tier": ("Web", "Mobile", "Affiliate", "Visit"),
    "tierline.tiers.dns.tier": (
        "DNS", "Simple", "Multivalue", "Latency", "Weighted", "Geography", "Failover", "Record",
    ),
    "tierline.tiers.dns.common.registration": ("Registration",),
    "tierline.tiers.cdn.tier": ("CDN", "CDNRule", "Countries"),
    "tierline.tiers.lb.tier": ("LoadBalancer", "ACME"),
    "tierline.tiers.cache.tier": ("HTTPCache",),
    "tierline.tiers.gateway.tier": (
        "Gateway", "JWT", "MTLS", "OIDC", "APIKeys", "Quota", "RateLimit", "Access", "Route", "Canary", "Mirror", "Version",
    ),
    "tierline.tiers.feature.tier": (
        "Service", "Scale", "Function", "Queue", "Topic", "Stream", "Bucket", "Mail",
    ),
    "tierline.tiers.feature.common.season": ("Season",),
    "tierline.tiers.core.tier": ("Cache", "Sessions"),
    "tierline.tiers.domain.tier": ("Relational", "Table"),
    "tierline.tiers.analytics.tier": ("Telemetry",),
    "tierline.journeys": ("Journey", "HTML"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "ACME", "CDN", "DNS", "HTML", "JWT", "MTLS", "OIDC", "APIKeys", "Access", "Affiliate", "Bucket", "CDNRule", "Cache",
    "Canary", "Countries",
    "Failover", "Function", "Gateway", "Geography", "HTTPCache", "Journey", "Latency", "LoadBalancer",
    "Mail", "Mirror", "Mobile", "Multivalue", "PartCache", "Queue", "Quota", "RateLimit", "Record",
    "Registration", "Relational", "Route", "Scale", "Season", "Service", "Sessions", "Simple", "Stack", "Stream", "Table",
    "Telemetry", "Topic", "Version", "Visit", "Web", "Weighted",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "PartCache":
        value = importlib.import_module("tierline.journeys").Cache
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"tierline has no {name!r}")
    globals()[name] = value
    return value
