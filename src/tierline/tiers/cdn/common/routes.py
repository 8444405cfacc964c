"""Which requests are for static files: the same for every CDN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def behaviours(settings: Mapping[str, Any], project: Path) -> list[str]:
    """Location matches for what lies in the assets folder or in buckets, as a CDN's path patterns would name it:
    the rest goes to the next tier."""
    buckets = list(settings["buckets"])
    if settings["assets"] is None:
        return buckets
    folder = project / settings["assets"]
    # Hidden files are nobody's, but for what is meant to be found (RFC 8615).
    names = sorted(e for e in folder.iterdir() if not e.name.startswith(".") or e.name == ".well-known")
    found = ["= /"] if (folder / "index.html").is_file() else []
    found += [f"/{each.name}/" if each.is_dir() else f"= /{each.name}" for each in names]
    return [*found, *(path for path in buckets if path not in found)]
