-- Refuses a body that is too large once it has come: a proxy in front that is still sending it would take an answer
-- before its end, and the closed connection after it, for a failure. What is far beyond the limit is not waited for.
-- Roles of one process share it; the one in front lets less through.
if too_large_registered then return end
too_large_registered = true
core.register_service("too_large", "http", function(applet)
  local left = LIMIT
  while left > 0 do
    local part = applet:receive(16384)
    if part == nil or #part == 0 then break end
    left = left - #part
  end
  local text = applet:get_var("txn.problem") or ""
  applet:set_status(413, "Content Too Large")
  applet:add_header("content-type", "application/problem+json")
  applet:add_header("content-length", tostring(#text))
  applet:start_response()
  applet:send(text)
end)
