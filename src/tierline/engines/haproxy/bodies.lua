-- JSON bodies shaped on their way. HAProxy keeps no more of a body than one buffer, so a service takes such a request
-- over: it reads the body whole, sends what became of it to the gateway's own second frontend, which balances, tries
-- again and waits as ever, and hands the answer out: an answer that is to be shaped whole, any other piece by piece.
-- After json.lua and shape.lua; `settings` is what bodies.py writes.

local LARGEST = 1048576  -- of an answer that is shaped: as Envoy's
local BODIES = { POST = true, PUT = true, PATCH = true }
local OWN = {
  ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["keep-alive"] = true, ["te"] = true,
  ["transfer-encoding"] = true, ["upgrade"] = true,
}
local UNSHAPED = {
  ["accept-ranges"] = true, ["content-digest"] = true, ["content-length"] = true, ["content-md5"] = true,
  ["digest"] = true, ["repr-digest"] = true,
}

-- Headers by name as HAProxy gives them (values from 0), behind the names that Envoy's have.
local function named(headers, path)
  return { get = function(_, name)
    if name == ":path" then return path end
    return headers[name] and headers[name][0]
  end }
end

local function problem(status, title, detail, trace)
  local about = detail and ',"detail":"' .. escaped(detail) .. '"' or ""
  return ('{"type":"about:blank","status":%d,"title":"%s"%s,"trace_id":"%s"}'):format(status, title, about, trace or "")
end

local function say(applet, status, reason, headers, body)
  applet:set_status(status, reason)
  for _, header in ipairs(headers) do applet:add_header(header[1], header[2]) end
  if body ~= nil and status ~= 204 and status ~= 304 then applet:add_header("content-length", tostring(#body)) end
  applet:start_response()
  if body ~= nil and body ~= "" then applet:send(body) end
end

local TITLES = {
  [400] = "Bad request", [413] = "The request is too large", [415] = "JSON is needed",
  [502] = "The service broke off", [504] = "The service took too long",
}

local function refuse(applet, status, detail, policy, title)
  applet:set_var("txn.policy", policy)
  applet:set_var("txn.verdict", "refused: " .. policy)
  local headers = { { "content-type", "application/problem+json" }, { "cache-control", "no-store" } }
  say(applet, status, nil, headers, problem(status, title or TITLES[status], detail, applet:get_var("txn.trace")))
end

-- The request's body, or nil when it is too large.
local function received(applet)
  local pieces, size = {}, 0
  while true do
    local piece = applet:receive(65536)
    if piece == nil or piece == "" then return table.concat(pieces) end
    size = size + #piece
    if size > settings.most then return nil end
    pieces[#pieces + 1] = piece
  end
end

-- The way on

local function sent(socket, applet, route, headers, body)
  local lines = { ("%s %s HTTP/1.1"):format(applet.method, applet.path .. (applet.qs ~= "" and "?" .. applet.qs or "")) }
  for name, values in pairs(headers) do
    if not OWN[name] then
      for number = 0, #values do lines[#lines + 1] = name .. ": " .. values[number] end
    end
  end
  lines[#lines + 1] = "x-tierline-to: " .. applet:get_var("txn.up")
  lines[#lines + 1] = "x-tierline-route: " .. route.name
  lines[#lines + 1] = "connection: close"
  if body ~= "" or BODIES[applet.method] then lines[#lines + 1] = "content-length: " .. #body end
  return socket:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. body)
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

local function whole(more)
  local found, size = {}, 0
  while true do
    local piece, ended = more()
    if piece == nil then return ended and table.concat(found) or nil, "broken" end
    size = size + #piece
    if size > LARGEST then return nil, "large" end
    found[#found + 1] = piece
  end
end

local function wanted(route, status, headers)
  return route.response and status >= 200 and status < 300 and status ~= 204 and status ~= 206 and json(headers)
end

local function answered(applet, socket, route)
  local status, reason, headers, listed, view = head(socket)
  if status == nil then return refuse(applet, 504, nil, "no answer") end
  local more = pieces(socket, status, headers)
  if not wanted(route, status, view) then
    if headers["content-length"] then listed[#listed + 1] = { "content-length", headers["content-length"][0] } end
    say(applet, status, reason, listed)
    while true do
      local piece, ended = more()
      if piece == nil then return ended or error("the service broke off", 0) end
      applet:send(piece)
    end
  end
  local text, about = whole(more)
  if text == nil and about == "large" then return refuse(applet, 502, nil, "answer", "The service's answer is too large") end
  if text == nil then return refuse(applet, 502, nil, "broken answer") end
  if text ~= "" then
    local encoding = view:get("content-encoding")
    local good, made = false, { why = "it is encoded as " .. (encoding or "") }
    if encoding == nil or encoding == "identity" then good, made = pcall(shaped, text, route.response, {}) end
    if not good then return refuse(applet, 502, why(made), "answer", "The service gave no JSON") end
    text = made
  end
  local kept = {}
  for _, header in ipairs(listed) do
    if not UNSHAPED[header[1]] then kept[#kept + 1] = header end
  end
  say(applet, status, reason, kept, text)
end

local function serve(applet, route)
  local headers = applet.headers
  local body = received(applet)
  if body == nil then return refuse(applet, 413, nil, "too large") end
  if route.request and BODIES[applet.method] then
    local view = named(headers, applet:get_var("txn.asked"))
    if route.request.needs and body == "" then return refuse(applet, 400, "a JSON body is needed", "body") end
    if body ~= "" and not json(view) then return refuse(applet, 415, "application/json is needed", "body") end
    local good, made = pcall(shaped, body ~= "" and body or "null", route.request, asked(route.request, view))
    if not good then return refuse(applet, 400, "the body is no JSON: " .. why(made), "body") end
    body, headers["content-type"] = made, { [0] = "application/json" }
  end
  local socket = core.tcp()
  socket:settimeout(route.timeout + 2)
  if not (socket:connect("unix@bodies.sock") and sent(socket, applet, route, headers, body)) then
    socket:close()
    return refuse(applet, 502, nil, "no way on")
  end
  local good, about = pcall(answered, applet, socket, route)
  socket:close()
  if not good then error(about, 0) end
end

for _, route in ipairs(settings.routes) do
  core.register_service("bodies_" .. route.name, "http", function(applet) serve(applet, route) end)
end
