"""What RFC 9110 and 9112 ask of every hop and Envoy leaves to its user: a script first among the filters.

Envoy takes a request's own Connection apart, and refuses malformed HTTP/2. By itself it passes on a CR in an HTTP/1.1
field (RFC 9112, 2.2) and fields that an answer's Connection names (RFC 9110, 7.6.1).
"""

from __future__ import annotations

from typing import Any

from tierline.engines.hopbyhop import KEPT

_DESCRIBED = """\
-- Who asks, and where, is what this listener sees, and not what anybody says (RFC 7239).
local function described(handle, headers)
  local node = handle:streamInfo():downstreamRemoteAddress():match("^(.*):%d+$") or "unknown"
  local scheme, host = headers:get("x-forwarded-proto") or "http", headers:get(":authority") or ""
  headers:replace("x-forwarded-for", (node:gsub("[%[%]]", "")))
  headers:replace("x-forwarded-host", host)
  headers:replace("x-forwarded-port", host:match(":(%d+)$") or (scheme == "https" and "443" or "80"))
  if node:find(":", 1, true) then node = '"' .. node .. '"' end
  headers:replace("forwarded", 'for=' .. node .. ';host="' .. host .. '";proto=' .. scheme)
end
"""

_TRACE = """\
-- W3C trace context: a request that comes without one begins a trace here. One in a hundred of those is kept
-- in detail; all are counted. The request id is Envoy's own random UUID.
local function trace(headers)
  local given = headers:get("traceparent")
  if given == nil or not (#given == 55 and given:match("^00%-%x+%-%x+%-%x%x$")) then
    local id = headers:get("x-request-id"):gsub("-", "")
    local kept = tonumber(id:sub(1, 4), 16) < 656 and "01" or "00"
    headers:replace("traceparent", "00-" .. id .. "-" .. id:sub(17) .. "-" .. kept)
  end
end

-- Whoever reads it next may take a bare CR for the end of a line.
function envoy_on_request(handle)
  local headers = handle:headers()
  trace(headers)
  described(handle, headers)
  if handle:streamInfo():protocol() ~= "HTTP/1.1" then return end
  for _, value in pairs(headers) do
    if value:find("\\r", 1, true) then
      handle:respond({[":status"] = "400", ["content-type"] = "text/plain"}, "a field holds a carriage return\\n")
      return
    end
  end
end
"""

_NAMED = """\
-- What the answer's Connection names is of that connection alone.
local kept = {KEPT}
function envoy_on_response(handle)
  local headers = handle:headers()
  local named = headers:get("connection")
  if named == nil then return end
  for name in named:lower():gmatch("[^,%s]+") do
    if not kept[name] then headers:remove(name) end
  end
end
"""


def script(entry: bool) -> dict[str, Any]:
    """The filter. entry: clients connect here, so that traces begin and malformed requests end here."""
    kept = "{" + ", ".join(f'["{name}"] = true' for name in sorted(KEPT)) + "}"
    text = (_DESCRIBED + _TRACE if entry else "") + _NAMED.replace("{KEPT}", kept)
    return {
        "name": "tierline.connection",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": text},
        },
    }
