"""Requests that a program in Lua sends on, as rules of an HAProxy frontend and a second frontend: those whose JSON bodies
are shaped by templates (bodies.lua), and copies for a mirror (mirror.lua)."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines.haproxy import budget
from tierline.engines.haproxy.callers import errors, unbounded
from tierline.engines.lua import library
from tierline.engines.lua.templates import shape
from tierline.plan.model import Budget

LARGEST = 4 << 20
"""Bytes of the largest body that the program reads whole."""


class Detour(msgspec.Struct, kw_only=True):
    """A route that the program has to do with."""

    name: str
    path: str
    """A template of the address, or empty."""
    timeout: float
    """Seconds until the service has to answer."""
    request: Any = None
    response: Any = None
    """Templates; None: left alone."""
    mirror: str = ""
    """Who gets copies, and of how many percent of the requests."""
    percent: int = 100


def program(routes: Sequence[Detour], most: int, folder: Path) -> dict[str, str]:
    """The file of the program. most: bytes of the largest request."""
    told = ""
    for route in routes:
        told += f'    {{ name = "{route.name}", timeout = {math.ceil(route.timeout)}'
        if route.request is not None:
            told += f", request = {shape(route.request, route.path)}"
        if route.response is not None:
            told += f", response = {shape(route.response, '')}"
        told += " },\n"
    head = (
        f"local PAUSE = core.yield\nlocal settings = {{\n  most = {most},\n  routes = {{\n{told}  }},\n}}\n"
    )
    text = "\n".join([head, library("json", "shape"), *_program()])
    return {str(folder / "onward.lua"): text}


@functools.cache
def _program() -> tuple[str, ...]:
    return tuple(
        Path(__file__).with_name(f"{name}.lua").read_text() for name in ("onward", "mirror", "bodies")
    )


ASKED = "    http-request set-var(txn.asked) pathq\n"
"""The address as the client wrote it, which templates speak of. Before any rule changes it."""


def rules(routes: Sequence[Detour], uncounted: str | None) -> str:
    """Rules that hand requests over, once it is known which route is theirs. The last of a frontend.

    uncounted: which of the others' bodies must say how long they are, as a condition; None: none.
    """
    lines = ""
    for route in routes:
        mine = f"{{ var(txn.route) -m str {route.name} }} !{{ req.hdr(upgrade) -m found }}"
        take = f"    http-request set-var(txn.shape) str({route.name}) if {mine}"
        if route.mirror:
            some = f" {{ rand(100) lt {route.percent} }}" if route.percent < 100 else ""
            lines += f"    http-request set-var(txn.mirror) str({route.mirror}) if {mine}{some}\n"
            # Both are sent the body, so it is read whole.
            lines += f"{take} {{ var(txn.mirror) -m found }} {{ req.hdr_val(content-length) gt 0 }}\n"
            lines += f"{take} {{ var(txn.mirror) -m found }} {{ req.hdr(transfer-encoding) -m found }}\n"
        if route.response is not None:
            lines += f"{take} !METH_HEAD\n"
        elif route.request is not None:
            lines += f"{take} {{ method POST PUT PATCH }}\n"
        if route.response is not None:
            # What is compressed, or a part of a whole, can't be shaped; how long it will be, nobody knows.
            lines += (
                f"    http-request del-header accept-encoding if {mine}\n"
                f"    http-request del-header range if {mine}\n"
                f"    http-request set-var(txn.headed) bool(true) if {mine} METH_HEAD\n"
            )
    lines += "    http-response del-header content-length if { var(txn.headed) -m bool }\n"
    # What is read whole is bounded while it is read.
    if uncounted is not None:
        lines += unbounded(f"!{{ var(txn.shape) -m found }} {uncounted}".rstrip())
    if any(route.mirror for route in routes):
        lines += "    http-request lua.mirror if { var(txn.mirror) -m found } !{ var(txn.shape) -m found }\n"
    for route in routes:
        lines += f"    http-request use-service lua.onward_{route.name} if {{ var(txn.shape) -m str {route.name} }}\n"
    return lines


def behind(name: str, own: Budget, told: Mapping[int, str]) -> str:
    """The second frontend, for the program alone: it knows already where a request goes."""
    return f"""\
frontend {name}-onward
    bind unix@onward.sock mode 600
    no log
{budget.frontend(own)}{errors(told)}\
    http-request set-var(txn.trace) req.hdr(traceparent),field(2,-)
    http-request set-var(txn.up) req.hdr(x-tierline-to)
    http-request set-var(txn.route) req.hdr(x-tierline-route)
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS }}
    http-request del-header x-tierline-to
    http-request del-header x-tierline-route
    use_backend {name}-%[var(txn.up)]

"""
