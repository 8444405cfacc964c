-- Whom a token is for, when it names several (RFC 7519, 4.1.3): HAProxy's own query of a payload knows single values
-- only. After json.lua.

-- raw: an array, as `scan` has found it.
local function holds(raw, wanted)
  local at = blank(raw, 2)
  while raw:byte(at) ~= 93 do
    if raw:byte(at) == 34 then
      local last = closing(raw, at + 1)
      if decoded(raw:sub(at + 1, last - 1)) == wanted then return true end
    end
    at = blank(raw, value(raw, at, nil, {}, 0))
    if raw:byte(at) == 44 then at = blank(raw, at + 1) end
  end
  return false
end

local function listed(payload, wanted)
  local raw = scan(payload, { aud = { [0] = "aud" } }).aud
  return raw ~= nil and raw:byte() == 91 and holds(raw, wanted)
end

core.register_converters("audience", function(payload, wanted)
  local good, found = pcall(listed, payload, wanted)
  return good and found
end)
