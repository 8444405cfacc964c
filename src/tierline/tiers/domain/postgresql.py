"""Relational databases on PostgreSQL: one primary takes the writes, replicas stream from it."""

from __future__ import annotations

from collections.abc import Sequence

from tierline.plan.model import Ref, Role, Text
from tierline.tiers.base import System


class PostgreSQL(System):
    title = "PostgreSQL"
    engine = "postgresql"
    levels = frozenset({"runs"})
    supports = frozenset({"relational", "replicas", "table"})
    endpoints = {"postgresql": "postgresql"}
    group = "server"

    def shared(self, roles: Sequence[Role]) -> dict[str, Text]:
        primary = [role for role in roles if role.part == "primary"]
        replicas = [role for role in roles if role.part.startswith("replica")]
        others = [role for role in roles if role.part != "primary"]
        return {
            # Every server that may lead: who takes writes is asked at each connection.
            "DATABASE_URL": _url([*primary, *others], "read-write"),
            "DATABASE_READ_URL": _url([*replicas, *primary], "prefer-standby" if replicas else "any"),
        }

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"TABLE": Text(("items",))} if roles[0].slot == "domain.table" else {}


def _url(roles: list[Role], attributes: str) -> Text:
    """libpq's URL with every host that may answer, and which of them should (target_session_attrs)."""
    first = roles[0]
    name = first.name.replace("-", "_")
    hosts: list[str | Ref] = []
    for role in roles:
        hosts += [",", Ref(role.id, "postgresql.address")] if hosts else [Ref(role.id, "postgresql.address")]
    return Text(
        (
            f"postgresql://{name}:", Ref(first.id, f"secret.{first.name}.password"), "@", *hosts,
            f"/{name}?target_session_attrs={attributes}",
        )
    )  # fmt: skip
