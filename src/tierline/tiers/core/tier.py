"""Core services: caches and sessions close to the users."""

from __future__ import annotations

from tierline.intent import Duration, Size, setting
from tierline.tiers.feature.tier import Resource


class Cache(Resource):
    """A key-value cache in memory (Redis protocol); it may forget."""

    slot = "core.cache"
    memory: Size = setting("Memory before old keys are evicted.", default="64MiB")


class Sessions(Resource):
    """Sessions (Redis protocol) that survive a restart."""

    slot = "core.sessions"
    ttl: Duration = setting("How long an idle session is kept.", default="30d")
