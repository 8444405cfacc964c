"""How many files a process of this user may have open (setrlimit(2), RLIMIT_NOFILE): each connection is one.

The supervisor raises the soft limit to the hard one, which is what engines then start with; what they ask for follows it.
"""

from __future__ import annotations

import resource

LEAST = 1024
"""Below, engines can't start."""
_ENOUGH = 8192 * 2 + 256
"""What the largest of the engines asks for."""


def most() -> int:
    """The hard limit; 2**20 where there is none."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def connections(wanted: int, each: int = 2) -> int:
    """How many connections an engine may take at once that wants so many. each: files that one needs, 2 for a proxy,
    which has another one behind."""
    return max(64, min(wanted, (most() - 256) // each))


def told() -> str:
    """A sentence for the user when the limit makes the line smaller, else nothing."""
    if not LEAST <= most() < _ENOUGH:
        return ""
    return (
        f"a process may have {most()} files open here: balancers, gateways and caches take about {connections(8192)} "
        f"connections at once instead of 8192 (ulimit -Hn {1 << 16} in the shell, LimitNOFILE= in a unit, --ulimit of a "
        "container raise it)"
    )
