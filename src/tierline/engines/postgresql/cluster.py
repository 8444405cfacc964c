"""Makes a cluster's folder once: `python -m tierline.engines.postgresql.cluster RECIPE.json`.

The recipe is the command that makes it (initdb or pg_basebackup), the folder, and whether it is a standby.
A folder that an interrupted run left half made is removed first: this runs only while none was finished.
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
    shutil.rmtree(cluster, ignore_errors=True)
    done = subprocess.run([*plan["argv"], "-D", str(cluster)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        return done.returncode
    if plan["standby"]:
        # Not pg_basebackup's -R: it would also write the primary's address of today into the data folder,
        # where it outranks the configuration of tomorrow.
        (cluster / "standby.signal").touch(mode=0o600)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
