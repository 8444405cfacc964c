"""tierline's own authoritative DNS server.

    python -m tierline.engines.answers CONFIG.json

It answers over UDP and TCP from zones that are data (config.py), chooses between places by policy (policy.py)
and by what its own health checks say (health.py). One thread, one loop (loop.py):

    udp, tcp ──▶ answerer (caches) ──▶ query ──▶ resolve (zones, policy) ──▶ reply

Imports are kept few: the process starts within 150 ms and stays below 25 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierline.engines.answers.engine import ENGINE

__all__ = ["ENGINE"]


def __getattr__(name: str) -> object:
    """ENGINE is loaded when it is asked for: the running server has no use for it."""
    if name == "ENGINE":
        from tierline.engines.answers.engine import ENGINE

        return ENGINE
    raise AttributeError(name)
