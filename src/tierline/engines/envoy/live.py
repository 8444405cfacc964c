"""Changing who stands behind a running Envoy: the endpoints file of a cluster, replaced by a rename."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tierline.engines.envoy.clusters import assignment
from tierline.engines.envoy.engine import endpoints, endpoints_file
from tierline.engines.target import Target


def certificate(path: Path) -> None:
    """The secret's file was replaced, which Envoy watches."""


def instances(folder: Path, name: str, wanted: Sequence[Target]) -> None:
    """Put `wanted` behind the cluster `name` of the unit whose folder this is. Applies within milliseconds; what
    is under way to an instance that is drained or gone ends there."""
    path = endpoints_file(folder, name)
    before = path.stat()
    temporary = path.with_suffix(".new")
    temporary.touch(mode=0o600)
    temporary.write_text(endpoints(assignment(name, wanted)))
    if os.geteuid() == 0:
        os.chown(temporary, before.st_uid, before.st_gid)
    temporary.replace(path)
