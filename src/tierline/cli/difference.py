"""What --diff prints, and its exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


def tell(old: Path, now: dict[str, Any], as_json: bool, made_by: str) -> None:
    """Print each change between a saved OpenAPI document and today's. Ends with code 1 when one of them breaks."""
    from tierline.openapi.change import shown
    from tierline.openapi.diff import changes, read

    found = changes(read(old, made_by), now, str(old))
    broken = any(each.breaking for each in found)
    if as_json:
        click.echo(json.dumps({"breaking": broken, "changes": [each.data() for each in found]}, indent=2))
    elif found:
        click.echo(shown(found))
    else:
        click.echo(f"the same as {old}")
    if broken:
        sys.exit(1)
