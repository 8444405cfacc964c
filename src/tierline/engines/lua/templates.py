"""JSON templates as Lua tables, for shape.lua."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tierline.engines import templates


def shape(template: Any, path: str) -> str:
    """A template as a Lua table: literal text and the names of values between. path: a template of the address."""
    params, fields = templates.params(path), templates.fields(template, path)
    listed = ", ".join(
        text(part)
        if isinstance(part, str)
        else f"{{ name = {text(part[0])}, whole = {str(part[1]).lower()} }}"
        for part in templates.parts(template)
    )
    headers = ", ".join(map(text, templates.headers(template)))
    return (
        f"{{ parts = {{ {listed} }}, wanted = {_tree(fields)}, needs = {str(bool(fields)).lower()}, "
        f"headers = {{ {headers} }}, path = {_pattern(path) if params else 'nil'}, "
        f"params = {{ {', '.join(map(text, params))} }} }}"
    )


def _tree(fields: Iterable[str]) -> str:
    """The tree of what is asked for as nested tables; `[0]` is the name under which a value is remembered."""

    def table(node: dict[str, Any]) -> str:
        inside = [
            f"[0] = {text(below)}" if name == "" else f"[{text(name)}] = {table(below)}"
            for name, below in node.items()
        ]
        return f"{{ {', '.join(inside)} }}"

    return table(templates.tree(fields))


def _pattern(path: str) -> str:
    """An address template as a Lua pattern."""
    pieces = re.split(r"\{[^}/]+\}", path)
    return text("^" + "([^/]+)".join(re.sub(r"([^A-Za-z0-9/_])", r"%\1", piece) for piece in pieces) + "/?$")


def text(text: str) -> str:
    """Any text as a Lua string."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/:., {}[]-"
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03d}" for b in text.encode()) + '"'
