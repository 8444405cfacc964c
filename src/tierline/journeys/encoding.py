"""Values that msgspec does not know."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """Rows and other mappings as dicts. Raises TypeError for anything else."""
    if hasattr(value, "keys"):
        return dict(value)
    raise TypeError(f"{type(value).__name__} can't be sent as JSON")
