"""Valkey: a server for all caches and one for all sessions, with a numbered database for each."""

from tierline.engines.valkey.engine import ENGINE

__all__ = ["ENGINE"]
