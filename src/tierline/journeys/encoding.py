"""Values that msgspec does not know."""

from __future__ import annotations

from typing import Any

import msgspec


def plain(value: Any) -> Any:
    """Rows and other mappings as dicts. Raises TypeError for anything else."""
    if hasattr(value, "keys"):
        return dict(value)
    raise TypeError(f"{type(value).__name__} can't be sent as JSON")


def packed(value: Any) -> bytes:
    """A key as bytes, for a digest. Numbers that MessagePack can't hold are written as JSON does."""
    try:
        return msgspec.msgpack.encode(value, enc_hook=str)
    except OverflowError:
        return msgspec.json.encode(value, enc_hook=str)
