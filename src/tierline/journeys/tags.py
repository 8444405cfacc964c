"""What makes stored values old before their time: a tag notes when it was dropped, and what was made before is not used."""

from __future__ import annotations

import string
import time
from collections.abc import Iterable
from typing import Any

from tierline.journeys.store import Store, get_many

KEPT = 30 * 86400.0
"""Seconds for which a drop is known: longer than any value is kept."""

OWN = ("identity", "session")
"""Whose values a key may name where they are kept per user."""


class Tags:
    """The tags of one store. Whoever shares the store shares its drops."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def drop(self, tags: Iterable[str]) -> None:
        """What has one of these tags and was made until now is old."""
        now = repr(time.time()).encode()
        for tag in dict.fromkeys(tags):
            await self._store.put(f"tag:{tag}", now, KEPT)

    async def dropped(self, tags: Iterable[str]) -> dict[str, float]:
        """By tag: when it was dropped last, for those that were."""
        names = list(tags)
        found = await get_many(self._store, [f"tag:{tag}" for tag in names])
        return {tag: float(raw) for tag, raw in zip(names, found, strict=True) if raw is not None}


def names_in(template: str) -> list[str]:
    """The names that a tag's template speaks of: `body` and `item` of `product:{body[id]}:{item.id}`. Raises ValueError."""
    return [
        name.replace("[", ".").partition(".")[0]
        for _, name, _, _ in string.Formatter().parse(template)
        if name is not None
    ]


def filled(templates: Iterable[str], names: dict[str, Any]) -> list[str]:
    """The tags themselves; one whose values are not there is left out."""
    found = []
    for template in templates:
        try:
            found.append(template.format_map(names))
        except (LookupError, AttributeError, TypeError, ValueError):
            continue
    return found


def token(key: str) -> str:
    """A surrogate key is one word of a list that blanks separate."""
    return "".join(c if c.isascii() and c.isprintable() and c != " " else "_" for c in key)[:200]
