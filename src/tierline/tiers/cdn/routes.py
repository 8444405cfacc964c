"""Which requests are for static files: the same for every CDN."""

from __future__ import annotations

from pathlib import Path


def behaviours(folder: Path) -> list[str]:
    """Location matches for what lies in the assets folder, as a CDN's path patterns would name it: the rest
    goes to the next tier."""
    names = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    found = ["= /"] if (folder / "index.html").is_file() else []
    return found + [f"/{each.name}/" if each.is_dir() else f"= /{each.name}" for each in names]
