"""What a part's stored values are kept under: the same name for the same function, and for nothing else."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

from tierline.journeys.schedule import Shape


def identity(shape: Shape, name: str, needed: set[str], denied: frozenset[str]) -> str:
    """What its values are kept under: apart from those that were made of what this caller may not have."""
    without = ",".join(sorted(needed & denied))
    return _known_as(shape, name, needed) + (f"!{without}" if without else "")


def _of_module(function: Callable[..., Any]) -> bool:
    """Whether its name stands for this function alone: not for a method of one of many objects, nor for one that was
    wrapped, or defined again further down."""
    found: Any = sys.modules.get(function.__module__)
    for piece in function.__qualname__.split("."):
        found = getattr(found, piece, None)
    return found is function


def _known_as(shape: Shape, name: str, needed: set[str]) -> str:
    """Functions of a module are known by their names; others only within their journey."""
    parts = [other for other in sorted(needed) if other in shape.functions]
    named = [(part, shape.journey.parts[part].function) for part in parts]
    places = [
        f"{f.__module__}.{f.__qualname__}" for _, f in named if hasattr(f, "__qualname__") and _of_module(f)
    ]
    if len(places) < len(named):
        return f"{shape.journey.name}:{name}"
    if len(parts) == 1:
        return places[0]
    return f"{name}:{hashlib.blake2b(repr(list(zip(parts, places, strict=True))).encode(), digest_size=8).hexdigest()}"
