"""Changing who stands behind a running Traefik: the watched file, replaced by a rename."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from tierline.engines.target import Target
from tierline.engines.traefik.engine import dynamic_file


def certificate(path: Path) -> None:
    """The watched file was replaced, with the certificate in it."""


def instances(folder: Path, name: str, wanted: Sequence[Target]) -> None:
    """Put `wanted` behind the service `name` (the near one of two) of the unit whose folder this is. Seen after 50
    ms; who is drained or gone ends what is under way."""
    path = dynamic_file(folder)
    told = json.loads(path.read_text())
    told["http"]["services"][name]["loadBalancer"]["servers"] = [
        {"url": f"http://{each.host}:{each.port}", "weight": each.weight}
        for each in wanted
        if not each.draining and each.weight
    ]
    before = path.stat()
    temporary = path.with_name(".line.new")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(told, indent=1, ensure_ascii=False))
    if os.geteuid() == 0:
        os.chown(temporary, before.st_uid, before.st_gid)
    temporary.replace(path)
