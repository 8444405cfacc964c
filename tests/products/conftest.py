"""Frameworks for the products of these tests, in a folder of their own outside the repository, made once for all sessions."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

DJANGO = "django>=5.2,<5.3"
EXPRESS = "express@4"


@pytest.fixture(scope="session")
def frameworks() -> Path:
    """`python/` has Django, `node_modules/` has Express."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(cache) / "tierline-tests" / f"products-{sys.version_info[0]}.{sys.version_info[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "python" / "django").is_dir():
            _run(sys.executable, "-m", "pip", "install", "-q", "--target", str(folder / "python"), DJANGO)
        if not (folder / "node_modules" / "express").is_dir():
            _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), EXPRESS)
    return folder


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
