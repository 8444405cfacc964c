"""Caches and sessions on Valkey: a server for all caches, another for all sessions."""

from __future__ import annotations

from collections.abc import Sequence

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System


class Valkey(System):
    title = "Valkey"
    engine = "valkey"
    levels = frozenset({"runs"})
    supports = frozenset({"cache", "sessions"})
    endpoints = {"redis": "redis"}
    group = "server"
    # What a full cache forgets must never be a session, and eviction is a server's policy, not a database's.
    servers = {"core.sessions": "sessions"}

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        at = roles[0].id
        return {
            "REDIS_URL": Text(
                (
                    "redis://:", Ref(at, "secret.valkey.password"), "@", Ref(at, "redis.address"), "/",
                    Ref(at, "database"),
                )
            )
        }  # fmt: skip
