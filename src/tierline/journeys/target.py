"""Paths and queries of calls, quoted."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urlencode

from tierline.journeys.fault import NotFound


class NoSegment(NotFound, ValueError):
    """A value that can't stand in a path, "" or "..": whoever asked for it has asked for what can't exist."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.detail = "there is nothing of that name"


_templates: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}


def checked(target: str) -> str:
    """Raises ValueError for what is no path and query of a request (RFC 9112, section 3.2.1)."""
    if target[:1] != "/" or not target.isascii() or not target.isprintable() or " " in target:
        raise ValueError(f"{target!r} is not a request target: it begins with / and is quoted")
    return target


def _template(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    checked(path)
    if "{" not in path:
        # Not kept: it may be one of very many, such as one that was made with an f-string.
        return (path,), ()
    pieces = re.split(r"\{(\w+)\}", path)
    found = _templates[path] = (tuple(pieces[::2]), tuple(pieces[1::2]))
    return found


def target_of(path: str, values: dict[str, Any]) -> str:
    """`/films/{id}` with its values quoted; values that the path doesn't name become the query.

    Raises ValueError when the path is not one, TypeError when a value that it names is missing.
    """
    texts, names = _templates.get(path) or _template(path)
    target = texts[0] if names else path
    for number, name in enumerate(names, 1):
        if name not in values:
            raise TypeError(f"{path} needs {name}=…")
        value = values.pop(name)
        piece = str(value) if type(value) is int else quote(str(value), safe="")
        if piece in ("", ".", ".."):
            raise NoSegment(f"{path}: {name}={value!r} is not a path segment")
        target += piece + texts[number]
    if values:
        query = [(k, v) for k, v in values.items() if v is not None]
        if query:
            target += ("&" if "?" in target else "?") + urlencode(query, doseq=True)
    return target
