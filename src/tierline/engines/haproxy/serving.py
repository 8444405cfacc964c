"""Answers of HAProxy's own that are larger than its buffers: a service in Lua hands them out in pieces."""

from __future__ import annotations

from pathlib import Path

_PROGRAM = """\
local file = assert(io.open("{path}", "rb"))
local body = file:read("*a")
file:close()
core.register_service("{name}", "http", function(applet)
  applet:set_status(200)
  applet:add_header("content-type", "application/json")
  applet:add_header("content-length", tostring(#body))
  applet:add_header("cache-control", "max-age=60")
  applet:start_response()
  if applet.method ~= "HEAD" then applet:send(body) end
end)
"""


def document(name: str, path: str, text: str, folder: Path) -> tuple[str, dict[str, str]]:
    """Rules that answer `path` with a JSON document, and the files they need."""
    where, program = folder / f"{name}-document.json", folder / f"{name}-document.lua"
    asked = f"{{ path {path} }} {{ method GET HEAD }}"
    rules = (
        f"    http-request set-var(txn.named) str(openapi) if {asked}\n"
        f"    http-request use-service lua.{name} if {asked}\n"
    )
    return rules, {str(where): text, str(program): _PROGRAM.format(path=where, name=name)}
