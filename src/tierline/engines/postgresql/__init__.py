"""PostgreSQL: one primary with a database per resource, and read replicas that stream from it."""

from tierline.engines.postgresql.engine import ENGINE, attributes

__all__ = ["ENGINE", "attributes"]
