"""What a server that was killed leaves outside its data: a System V shared memory segment (PostgreSQL, 18.4.1).

The next start on the same data removes it; where the data goes, nobody would.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

_IPC_RMID = 0
_KEY_AND_ID = 6
"""The line of postmaster.pid with the segment's key and id (miscadmin.h, LOCK_FILE_LINE_SHMEM_KEY)."""


def remove(data: Path) -> None:
    """Remove the segments of all servers below a folder that nobody is attached to."""
    libc = ctypes.CDLL(None)
    for path in data.glob("**/postmaster.pid"):
        with suppress(OSError, ValueError, IndexError):
            key, segment = map(int, path.read_text().splitlines()[_KEY_AND_ID].split())
            if _unattached(key, segment):
                libc.shmctl(segment, _IPC_RMID, None)


def _unattached(key: int, segment: int) -> bool:
    """Whether this is still the segment of that key, and no process uses it (proc(5), sysvipc/shm)."""
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[0]) & 0xFFFFFFFF == key & 0xFFFFFFFF and int(fields[1]) == segment:
            return int(fields[6]) == 0
    return False
