"""Purges as a file beside the running Traffic Server: cache.lua reads it again when it has changed.

Traffic Server itself can only be told of single URLs. Here each line says since when copies of a path, of all below
it, or with a tag are old, whatever their variant or query.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tierline.engines.trafficserver.config import PURGES
from tierline.engines.unprivileged import account
from tierline.errors import RunError

if TYPE_CHECKING:
    from tierline.tiers.cache.tier import Purge

_MOST = 10_000
"""Lines; beyond, everything counts as purged, so that looking never takes long."""
_SEEN = 0.12
"""Seconds until every thread has looked, and one look more."""


def purge(folder: Path, order: Purge) -> None:
    """Add an order to the file of a unit's folder. When this returns, it counts.

    Raises RunError when the folder can't be written to.
    """
    now = f"{time.time() + 0.002:.3f}"
    lines = {f"= {path.partition('?')[0]}": now for path in order.paths}
    lines |= {f"^ {prefix.rstrip('/') or '/'}": now for prefix in order.prefixes}
    lines |= {f"# {tag}": now for tag in order.tags}
    path = folder / PURGES
    try:
        with (folder / f"{PURGES}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = path.read_text().splitlines()[1:] if path.exists() else []
            known = {f"{kind} {name}": when for kind, when, name in (each.split(" ", 2) for each in before)}
            known |= lines
            if len(known) > _MOST:
                known = {"^ /": now}
            told = "".join(f"{key[0]} {when} {key[2:]}\n" for key, when in known.items())
            new = folder / f"{PURGES}.new"
            new.write_text(f"{time.time_ns()}\n{told}")
            new.chmod(0o600)
            if os.geteuid() == 0:
                os.chown(new, *account())
            new.replace(path)
    except OSError as error:
        raise RunError(f"{folder.name} takes no purge now: {error.strerror or error}") from None
    time.sleep(_SEEN)
