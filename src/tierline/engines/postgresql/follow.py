"""Makes who led before a follower: `python -m tierline.engines.postgresql.follow RECIPE.json`.

Runs before a follower starts whose folder isn't a standby's. What it wrote and no follower had is taken back
(pg_rewind): none of it was acknowledged. Where that can't be done, its data is cloned anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from tierline.engines.postgresql import cluster

_PATIENCE = 120.0
"""Seconds for a leader to answer."""


def main(recipe: str) -> int:
    plan = json.loads(Path(recipe).read_text())
    folder = Path(plan["cluster"])
    until = time.monotonic() + _PATIENCE
    while True:
        done = subprocess.run(
            [*plan["rewind"], "--target-pgdata", str(folder)], capture_output=True, text=True, check=False
        )
        # Its leader may be on the way back itself.
        away = done.returncode != 0 and "connection to server" in done.stderr
        if not away or time.monotonic() > until:
            break
        time.sleep(0.5)
    if done.returncode:
        sys.stderr.write(f"cloned anew, as pg_rewind said: {done.stderr.strip()}\n")
        return cluster.main(recipe)
    (folder / "standby.signal").touch(mode=0o600)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
