"""Makes a cluster's folder once: `python -m tierline.engines.postgresql.cluster RECIPE.json`.

The recipe is the command that makes it (initdb or pg_basebackup), the folder, and whether it is a standby.
It is made beside its place and takes it when it is whole: a leader that can't be reached must not cost a follower
the data that it had.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000


def named() -> bool:
    """Whether this user is in the list of users."""
    try:
        return bool(pwd.getpwuid(os.geteuid()))
    except KeyError:
        return False


def take_a_name() -> str:
    """initdb wants to know what its user is called, and ends where it has no name (a container with a number as its user).
    In a user namespace of its own (user_namespaces(7)) this process has that of another user, and no right more; what it
    makes belongs to the same number as before. What is wrong when that can't be done."""
    user, group = os.geteuid(), os.getegid()
    other = next((each for each in pwd.getpwall() if each.pw_uid != 0), None)
    libc = ctypes.CDLL(None, use_errno=True)
    if other is not None and libc.unshare(_CLONE_NEWUSER) == 0:
        try:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{other.pw_uid} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{other.pw_gid} {group} 1")
            return ""
        except OSError:
            pass
    return (
        f"initdb needs a name for user {user}, and /etc/passwd has none: add one "
        f"(echo 'tierline:x:{user}:{group}::/tmp:/bin/false' >> /etc/passwd, as root), or run as a user that has one"
    )


def main(recipe: str) -> int:
    plan = json.loads(Path(recipe).read_text())
    cluster = Path(plan["cluster"])
    if (cluster / "global" / "pg_control").is_file() and not plan["standby"]:
        return 0  # it took its place whole: nothing is ever made over data that led
    made = cluster.with_name(f"{cluster.name}.new")
    shutil.rmtree(made, ignore_errors=True)  # what an interrupted run left half made
    if not plan["standby"] and not named() and (problem := take_a_name()):
        sys.stderr.write(problem + "\n")
        return 1
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
