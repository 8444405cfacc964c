"""Relational databases on PostgreSQL: one primary takes the writes, replicas stream from it."""

from __future__ import annotations

from collections.abc import Sequence

from tierline.engines.base import Step
from tierline.engines.context import Context
from tierline.engines.postgresql.engine import ENGINE, SUPERUSER, SUPERUSER_PASSWORD, attributes
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

    def warm(self, role: Role, context: Context) -> Step | None:
        host, port = context.address(role.id, "postgresql")
        names = attributes(role)
        url = f"host={host} port={port} user={SUPERUSER} dbname={names['database']} connect_timeout=2"
        argv = (
            ENGINE.tool("psql"),
            "-XqAt",
            "-w",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            url,
            "-c",
            _THERE,
            "-c",
            _PREWARM,
        )
        env = {
            "PGPASSWORD": context.secret(SUPERUSER_PASSWORD),
            "PGOPTIONS": "-c client_min_messages=warning",
        }
        return Step(argv=argv, about="tables into the buffers", env=env)

    def own(self, roles: Sequence[Role]) -> dict[str, Text]:
        return {"TABLE": Text(("items",))} if roles[0].slot == "domain.table" else {}


_THERE = """
do $$ begin
  if not pg_is_in_recovery() then create extension if not exists pg_prewarm; end if;
  for attempt in 1..200 loop
    exit when exists (select from pg_extension where extname = 'pg_prewarm');
    if attempt = 200 then
      raise exception 'pg_prewarm has not arrived from the server that leads, which makes it';
    end if;
    perform pg_sleep(0.02);
  end loop;
end $$
"""
"""The extension (PostgreSQL, F.30): the server that leads makes it, on a replica it arrives with what is replicated."""
_PREWARM = """
select coalesce(sum(pg_prewarm(c.oid)), 0) || ' pages of ' || count(*) || ' tables and indexes'
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'i', 'm') and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
"""


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
