"""Makes a cluster's folder once: `python -m tierline.engines.postgresql.cluster RECIPE.json`.

The recipe is the command that makes it (initdb or pg_basebackup), the folder, and whether it is a standby.
It is made beside its place and takes it when it is whole: a leader that can't be reached must not cost a follower
the data that it had.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path


def main(recipe: str) -> int:
    plan = json.loads(Path(recipe).read_text())
    cluster = Path(plan["cluster"])
    if (cluster / "global" / "pg_control").is_file() and not plan["standby"]:
        return 0  # it took its place whole: nothing is ever made over data that led
    made = cluster.with_name(f"{cluster.name}.new")
    shutil.rmtree(made, ignore_errors=True)  # what an interrupted run left half made
    done = subprocess.run([*plan["argv"], "-D", str(made)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        return done.returncode
    if plan["standby"]:
        # Not pg_basebackup's -R: it would also write the primary's address of today into the data folder,
        # where it outranks the configuration of tomorrow.
        (made / "standby.signal").touch(mode=0o600)
    shutil.rmtree(cluster, ignore_errors=True)
    made.rename(cluster)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
