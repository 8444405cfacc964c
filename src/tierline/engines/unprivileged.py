"""Gives up root for one program: `python -I -S unprivileged.py ARGV…`.

PostgreSQL refuses to run as root. The account it runs as then (nobody) can't even reach a project or an
environment below a closed folder such as /root, and opening those folders to everybody is not ours to do.
So the process keeps one capability: to read and pass through folders (CAP_DAC_READ_SEARCH, or
CAP_DAC_OVERRIDE where a container withholds the first). It still writes only what it owns.

A parent-death signal set by whoever started this survives: the kernel clears it when credentials change.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys

_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT = 1, 2, 8, 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522


def account() -> tuple[int, int]:
    """User and group id of who unprivileged processes run as when started by root."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:  # an image without a list of users
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def drop() -> None:
    """Become `nobody` for good, able to read and traverse. Does nothing for an ordinary user."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    signal = ctypes.c_int(0)
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(signal), 0, 0, 0)
    held = _effective()
    keep = next((cap for cap in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if held >> cap & 1), None)
    user, group = account()
    if keep is not None:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    if keep is not None:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        bit = 1 << keep
        sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        if libc.capset(header, sets) == 0:
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, keep, 0, 0)
    if signal.value:
        libc.prctl(_PR_SET_PDEATHSIG, signal.value, 0, 0, 0)


def _effective() -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123  pathlib would be half of this program's start
        for line in status:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0


if __name__ == "__main__":
    parent = os.getppid()
    drop()
    if os.getppid() != parent:  # the parent died before its death could be signalled again
        sys.exit(1)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  the point of this program
