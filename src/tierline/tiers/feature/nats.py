"""Queues, topics and streams on NATS JetStream."""

from __future__ import annotations

from collections.abc import Sequence

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System


class Nats(System):
    title = "NATS JetStream"
    engine = "nats"
    levels = frozenset({"runs"})
    supports = frozenset({"queue", "topic", "stream"})
    endpoints = {"nats": "nats"}
    group = "server"

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        at = roles[0].id
        return {
            "NATS_URL": Text(
                ("nats://tierline:", Ref(at, "secret.nats.password"), "@", Ref(at, "nats.address"))
            )
        }

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"SUBJECT": Text((roles[0].name,))}
