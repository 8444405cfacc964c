-- JSON bodies shaped on their way. HAProxy keeps no more of a body than one buffer, so a service takes such a request
-- over: it reads the body whole, sends on what became of it, and hands the answer out: an answer that is to be shaped
-- whole, any other piece by piece. After json.lua, shape.lua, onward.lua and mirror.lua; `settings` is what onward.py
-- writes.

local LARGEST = 1048576  -- of an answer that is shaped: as Envoy's
local UNSHAPED = {
  ["accept-ranges"] = true, ["content-digest"] = true, ["content-length"] = true, ["content-md5"] = true,
  ["digest"] = true, ["repr-digest"] = true,
}

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
  local target = applet.path .. (applet.qs ~= "" and "?" .. applet.qs or "")
  local request = { method = applet.method, target = target, headers = headers, body = body }
  local to = applet:get_var("txn.mirror")
  if to then copy(request, to, route.name) end
  local socket = onward(request, applet:get_var("txn.up"), route.name, route.timeout + 2)
  if not socket then return refuse(applet, 502, nil, "no way on") end
  local good, about = pcall(answered, applet, socket, route)
  socket:close()
  if not good then error(about, 0) end
end

for _, route in ipairs(settings.routes) do
  core.register_service("onward_" .. route.name, "http", function(applet) serve(applet, route) end)
end
