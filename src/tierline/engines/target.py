"""An instance as a live change names it: engines/<name>/live.py puts a list of them behind a running engine."""

from __future__ import annotations

import msgspec


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where an instance listens, how far it is, and how much it gets."""

    name: str
    host: str
    port: int
    distance: int = 0
    """0: the same zone, 1: another one, 2: another region. The nearest living ones are used."""
    weight: int = 100
    draining: bool = False
    """Nothing new, but what is under way may end."""
