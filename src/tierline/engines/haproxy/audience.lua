-- Whom a token is for, when it names several (RFC 7519, 4.1.3): HAProxy's own query of a payload knows single values
-- only. After json.lua.

local function listed(payload, wanted)
  local raw = scan(payload, { aud = { [0] = "aud" } }).aud
  return raw ~= nil and raw:byte() == 91 and holds(raw, wanted)
end

core.register_converters("audience", function(payload, wanted)
  local good, found = pcall(listed, payload, wanted)
  return good and found
end)
