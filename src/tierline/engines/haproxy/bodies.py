"""JSON bodies shaped by templates, as rules of an HAProxy frontend, a second frontend and a program: see bodies.lua."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tierline.engines.haproxy.callers import errors, refuse
from tierline.engines.lua import library
from tierline.engines.lua.templates import shape


class Shaped(msgspec.Struct, kw_only=True):
    """A route whose bodies are shaped."""

    name: str
    path: str
    """A template of the address, or empty."""
    timeout: float
    """Seconds until the service has to answer."""
    request: Any = None
    response: Any = None
    """Templates; None: left alone."""


def program(routes: Sequence[Shaped], most: int, folder: Path) -> dict[str, str]:
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
    text = "\n".join([head, library("json", "shape"), Path(__file__).with_name("bodies.lua").read_text()])
    return {str(folder / "bodies.lua"): text}


ASKED = "    http-request set-var(txn.asked) pathq\n"
"""The address as the client wrote it, which templates speak of. Before any rule changes it."""


def rules(routes: Sequence[Shaped]) -> str:
    """Rules that hand requests over, once it is known which route is theirs. The last of a frontend."""
    lines = ""
    for route in routes:
        mine = f"{{ var(txn.route) -m str {route.name} }}"
        which = "!METH_HEAD" if route.response is not None else "{ method POST PUT PATCH }"
        lines += f"    http-request set-var(txn.shape) str({route.name}) if {mine} {which} !{{ req.hdr(upgrade) -m found }}\n"
        if route.response is not None:
            # What is compressed, or a part of a whole, can't be shaped; how long it will be, nobody knows.
            lines += (
                f"    http-request del-header accept-encoding if {mine}\n"
                f"    http-request del-header range if {mine}\n"
                f"    http-request set-var(txn.headed) bool(true) if {mine} METH_HEAD\n"
            )
    lines += "    http-response del-header content-length if { var(txn.headed) -m bool }\n"
    # What is read whole is bounded while it is read.
    lines += refuse(411, "no length", "{ req.hdr(transfer-encoding) -m found } !{ var(txn.shape) -m found }")
    for route in routes:
        lines += f"    http-request use-service lua.bodies_{route.name} if {{ var(txn.shape) -m str {route.name} }}\n"
    return lines


def behind(name: str) -> str:
    """The second frontend, for the program alone: it knows already where a request goes."""
    return f"""\
frontend {name}-bodies
    bind unix@bodies.sock mode 600
    no log
{errors()}\
    http-request set-var(txn.trace) req.hdr(traceparent),field(2,-)
    http-request set-var(txn.up) req.hdr(x-tierline-to)
    http-request set-var(txn.route) req.hdr(x-tierline-route)
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS }}
    http-request del-header x-tierline-to
    http-request del-header x-tierline-route
    use_backend {name}-%[var(txn.up)]

"""
