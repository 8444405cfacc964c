"""Which line a state folder is: its id is bound to the folder, so that a moved line keeps it and a copy doesn't."""

from __future__ import annotations

import pwd
from pathlib import Path


def identity(root: Path) -> str:
    """The id of a state folder's line; empty when it has none, or is a copy of the folder that has it."""
    try:
        line, device, inode, *_ = (root / "line").read_text().split()
        found = root.stat()
        return line if (int(device), int(inode)) == (found.st_dev, found.st_ino) else ""
    except (OSError, ValueError):
        return ""


def original(root: Path) -> str:
    """The folder that a state folder was copied from; empty when it is none, or nobody knows."""
    try:
        path = (root / "line").read_text().rstrip("\n").split(" ", 3)[3]
    except (OSError, ValueError, IndexError):
        return ""
    return "" if identity(root) or path == str(root) else path


def boot() -> str:
    """Which run of the machine this is: start times only compare within one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def owned(root: Path) -> str:
    """Whose a state folder is, and what to do, for an error."""
    try:
        owner = root.stat().st_uid
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"the user with the id {owner}"
    except OSError:
        name = "another user"
    return f"this state folder belongs to {name}: run tierline as {name}, or move the folder away and start with new data"
