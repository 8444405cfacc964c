"""BIND 9 as an engine: `named` with a view per outcome of routing, its files written by a keeper."""

from tierline.engines.bind9.engine import ENGINE

__all__ = ["ENGINE"]
