"""Valkey: caches and sessions, one server with a numbered database for each."""

from tierline.engines.valkey.engine import ENGINE

__all__ = ["ENGINE"]
