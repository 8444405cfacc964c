"""Domains: the data that the business owns."""

from __future__ import annotations

from tierline.intent import setting
from tierline.tiers.feature.tier import Resource


class Relational(Resource):
    """A relational database: one primary that takes all writes, and read replicas."""

    slot = "domain.relational"
    schema: str | None = setting("Folder of .sql files, each applied once, in order of name.", default=None)
    load: tuple[str, ...] = setting(
        "A command that loads the first data, run once with DATABASE_URL.", default=()
    )
    replicas: int = setting("Read replicas.", default=0, above=0, below=5)


class Table(Resource):
    """A key-value and document table with a partition key and, optionally, a sort key."""

    slot = "domain.table"
    key: str = setting("The partition key's attribute.")
    sort: str | None = setting("The sort key's attribute.", default=None)
    ttl: str | None = setting("The attribute that holds an item's expiry (epoch seconds).", default=None)
