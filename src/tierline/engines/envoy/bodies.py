"""JSON bodies shaped by templates, in Lua: the stock filters pass on what is no JSON and round large numbers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tierline.engines.lua import library
from tierline.engines.lua.templates import shape

_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3."
FILTER = "tierline.bodies"


def filter() -> dict[str, Any]:
    """The filter: it does what a route says, and nothing elsewhere."""
    code = {"inline_string": "function envoy_on_request(handle) end\n"}
    return {"name": FILTER, "typed_config": {"@type": _LUA + "Lua", "default_source_code": code}}


def of_route(request: Any, response: Any, path: str) -> dict[str, Any]:
    """What a route's templates come to: the filter's configuration for it. path: a template of the address."""
    text = _library()
    asked = ""
    if request is not None:
        text += f"\nlocal request = {shape(request, path)}\n"
        asked = "on_request(handle, request)"
    if response is not None:
        asked = f"remember(handle) {asked}"
    text += f"function envoy_on_request(handle) {asked} end\n"
    if response is not None:
        text += f"\nlocal response = {shape(response, '')}\n"
        text += "function envoy_on_response(handle) on_response(handle, response) end\n"
    return {FILTER: {"@type": _LUA + "LuaPerRoute", "source_code": {"inline_string": text}}}


@functools.cache
def _library() -> str:
    return library("json", "shape") + "\n" + Path(__file__).with_name("bodies.lua").read_text()
