"""JSON templates of bodies, taken apart: the same for every engine that shapes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_:.-]*)\}")
_PARAM = re.compile(r"\{([^}/]+)\}")


def parts(template: Any) -> Iterable[str | tuple[str, bool]]:
    """JSON text, and (name, whether it stands for a whole value) where a value goes."""
    if isinstance(template, dict):
        yield "{"
        for number, (name, each) in enumerate(template.items()):
            yield ("," if number else "") + json.dumps(name) + ":"
            yield from parts(each)
        yield "}"
    elif isinstance(template, list | tuple):
        yield "["
        for number, each in enumerate(template):
            if number:
                yield ","
            yield from parts(each)
        yield "]"
    elif isinstance(template, str) and (whole := _NAME.fullmatch(template)):
        yield whole[1], True
    elif isinstance(template, str):
        yield '"'
        for number, piece in enumerate(_NAME.split(template)):
            if number % 2:
                yield piece, False
            elif piece:
                yield json.dumps(piece)[1:-1]
        yield '"'
    else:
        yield json.dumps(template)


def names(template: Any) -> list[str]:
    """The values that a template asks for."""
    return [part[0] for part in parts(template) if isinstance(part, tuple)]


def params(path: str) -> list[str]:
    """The names in a path's template."""
    return _PARAM.findall(path)


def fields(template: Any, path: str) -> list[str]:
    """Those of its values that come from the body, not from the address or a header."""
    inside = params(path)
    return [n for n in names(template) if n not in inside and not n.startswith(("query:", "header:"))]


def headers(template: Any) -> list[str]:
    """The request's headers that it asks for, in lower case."""
    return [n.removeprefix("header:").lower() for n in names(template) if n.startswith("header:")]


def tree(asked: Iterable[str]) -> dict[str, Any]:
    """Names with dots as nested tables; `''` in one is the name under which a value is remembered."""
    root: dict[str, Any] = {}
    for field in asked:
        node = root
        for word in field.split(".") if field != "body" else ():
            node = node.setdefault(word, {})
        node[""] = field
    return root
