"""JSON templates as Lua tables, for shape.lua."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_:.-]*)\}")


def shape(template: Any, path: str) -> str:
    """A template as a Lua table: literal text and the names of values between. path: a template of the address."""
    params = re.findall(r"\{([^}/]+)\}", path)
    parts = list(_parts(template))
    names = [part[0] for part in parts if isinstance(part, tuple)]
    fields = [n for n in names if n not in params and not n.startswith(("query:", "header:"))]
    listed = ", ".join(
        text(part)
        if isinstance(part, str)
        else f"{{ name = {text(part[0])}, whole = {str(part[1]).lower()} }}"
        for part in parts
    )
    headers = ", ".join(text(n.removeprefix("header:").lower()) for n in names if n.startswith("header:"))
    return (
        f"{{ parts = {{ {listed} }}, wanted = {_tree(fields)}, needs = {str(bool(fields)).lower()}, "
        f"headers = {{ {headers} }}, path = {_pattern(path) if params else 'nil'}, "
        f"params = {{ {', '.join(map(text, params))} }} }}"
    )


def _parts(template: Any) -> Iterable[str | tuple[str, bool]]:
    """JSON text, and (name, whether it stands for a whole value) where a value goes."""
    if isinstance(template, dict):
        yield "{"
        for number, (name, each) in enumerate(template.items()):
            yield ("," if number else "") + json.dumps(name) + ":"
            yield from _parts(each)
        yield "}"
    elif isinstance(template, list | tuple):
        yield "["
        for number, each in enumerate(template):
            if number:
                yield ","
            yield from _parts(each)
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


def _tree(fields: Iterable[str]) -> str:
    """Names with dots as nested tables; `[0]` is the name under which a value is remembered."""
    root: dict[str, Any] = {}
    for field in fields:
        node = root
        for word in field.split(".") if field != "body" else ():
            node = node.setdefault(word, {})
        node[""] = field

    def table(node: dict[str, Any]) -> str:
        inside = [
            f"[0] = {text(below)}" if name == "" else f"[{text(name)}] = {table(below)}"
            for name, below in node.items()
        ]
        return f"{{ {', '.join(inside)} }}"

    return table(root)


def _pattern(path: str) -> str:
    """An address template as a Lua pattern."""
    pieces = re.split(r"\{[^}/]+\}", path)
    return text("^" + "([^/]+)".join(re.sub(r"([^A-Za-z0-9/_])", r"%\1", piece) for piece in pieces) + "/?$")


def text(text: str) -> str:
    """Any text as a Lua string."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/:., {}[]-"
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03d}" for b in text.encode()) + '"'
