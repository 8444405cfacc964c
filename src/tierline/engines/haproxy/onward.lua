-- Requests that a program sends on itself: over a socket to the gateway's own second frontend, which balances, tries again
-- and waits as ever. It is HAProxy that answers there, so what it says is well-formed HTTP/1.1.

local BODIES = { POST = true, PUT = true, PATCH = true }
local OWN = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["keep-alive"] = true, ["te"] = true,
  ["transfer-encoding"] = true, ["upgrade"] = true,
  -- What the second frontend is told, which nobody else may.
  ["x-tierline-to"] = true, ["x-tierline-route"] = true,
}

-- Headers by name as HAProxy gives them (values from 0), behind the names that Envoy's have.
local function named(headers, path)
  return { get = function(_, name)
    if name == ":path" then return path end
    return headers[name] and headers[name][0]
  end }
end

-- request: method, target, headers (values from 0), body. to, route: what the second frontend is told.
local function sent(socket, request, to, route)
  local lines = { ("%s %s HTTP/1.1"):format(request.method, request.target) }
  for name, values in pairs(request.headers) do
    if not OWN[name] then
      for number = 0, #values do lines[#lines + 1] = name .. ": " .. values[number] end
    end
  end
  lines[#lines + 1] = "x-tierline-to: " .. to
  lines[#lines + 1] = "x-tierline-route: " .. route
  lines[#lines + 1] = "connection: close"
  if request.body ~= "" or BODIES[request.method] then lines[#lines + 1] = "content-length: " .. #request.body end
  return socket:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. request.body)
end

-- A connection to the second frontend on which the request has been sent, or nil. seconds: how long it may be silent.
local function onward(request, to, route, seconds)
  local socket = core.tcp()
  socket:settimeout(seconds)
  if socket:connect("unix@onward.sock") and sent(socket, request, to, route) then return socket end
  socket:close()
end

-- The head of an answer: status, reason, and headers by name and as a list.
local function head(socket)
  while true do
    local line = socket:receive("*l")
    local status, reason = (line or ""):match("^HTTP/1%.1 (%d%d%d) ?(.*)$")
    if status == nil then return nil end
    local headers, listed = {}, {}
    while true do
      line = socket:receive("*l")
      if line == nil then return nil end
      local name, text = line:match("^([^:]+): ?(.*)$")
      if name == nil then break end
      name = name:lower()
      headers[name] = headers[name] or { [0] = text }
      if not OWN[name] then listed[#listed + 1] = { name, text } end
    end
    status = tonumber(status)
    if status >= 200 then return status, reason, headers, listed, named(headers) end
  end
end

-- Pieces of an answer's body, until nil; the second value says whether that was its end.
local function pieces(socket, status, headers)
  if status == 204 or status == 304 then return function() return nil, true end end
  if headers["transfer-encoding"] then
    local left = 0
    return function()
      if left == 0 then
        local size = tonumber((socket:receive("*l") or ""):match("^%x+") or "", 16)
        if size == nil then return nil, false end
        if size == 0 then return nil, true end
        left = size
      end
      local piece = socket:receive(math.min(left, 65536))
      if piece == nil then return nil, false end
      left = left - #piece
      if left == 0 then socket:receive("*l") end
      return piece
    end
  end
  local left = tonumber(headers["content-length"] and headers["content-length"][0] or "0")
  return function()
    if left == 0 then return nil, true end
    local piece = socket:receive(math.min(left, 65536))
    if piece == nil then return nil, false end
    left = left - #piece
    return piece
  end
end
