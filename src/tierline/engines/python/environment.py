"""Several applications in one process, each with an environment of its own.

`os.environ` is the process's. So each application is imported and started with its own variables in it;
afterwards only those stay on which all agree. An application that reads a contested variable later gets a
KeyError, never its neighbour's value. Twelve-factor applications read theirs at import or at start-up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with these variables, for the length of a block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def agreed(environments: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The variables that no two of the environments set differently."""
    merged: dict[str, str] = {}
    contested: set[str] = set()
    for each in environments:
        for name, value in each.items():
            if merged.setdefault(name, value) != value:
                contested.add(name)
    return {name: value for name, value in merged.items() if name not in contested}
