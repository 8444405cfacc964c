"""Core services: caches and sessions close to the users."""

from __future__ import annotations

from tierline.intent import Duration, Size, setting
from tierline.tiers.feature.tier import Resource


class Cache(Resource):
    """A key-value cache in memory (Redis protocol). When it is full it forgets what was used longest ago, whatever that
    is: locks, queues and counters belong in `Sessions`."""

    slot = "core.cache"
    memory: Size = setting("Memory before old keys are evicted.", default="64MiB")


class Sessions(Resource):
    """Sessions (Redis protocol) that survive a restart, and whatever else must not be forgotten: locks, counters,
    leaderboards. When they are full nothing is evicted: writes are refused (`OOM …`) until keys expire."""

    slot = "core.sessions"
    ttl: Duration = setting("How long an idle session is kept.", default="30d")
    memory: Size = setting(
        "Memory for them; `tierline status` tells when it is nearly full.", default="128MiB"
    )
