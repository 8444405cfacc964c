-- Between clients and Envoy's cache filter: what it doesn't know of RFC 9111 when it is asked. cache_judge.lua, at the
-- other side of it, decides what is kept. A request is known again on its way back by its number, `x-tierline-ask`:
-- an answer with another one was kept. All state is this worker's own; tierline's Envoys have one.
--
-- Versions: a purge or an unsafe method raises that of a path, which is part of the key, behind a '#' that no request
-- can have; old copies, and those that are still on their way, are never found again. `EPOCH` begins anew with the
-- process: what was purged doesn't come back.

local EPOCH = os.time() .. tostring({}):sub(8)
local SMALL = 512 * 1024  -- a whole answer is held back for a 304 up to this size
local CONDITIONS = { "if-none-match", "if-modified-since" }
local BACK = { ["x-tierline-said"] = "cache-control", ["x-tierline-expires"] = "expires" }
local PLAIN = { ["GET"] = true, ["HEAD"] = true, ["OPTIONS"] = true, ["TRACE"] = true }

local number, version, exact, prefixes, known, tagged, tags = 0, 0, {}, {}, 0, {}, 0

local function forget()
  exact, prefixes, known, tagged, tags = {}, {}, 0, {}, 0
  EPOCH = os.time() .. tostring({}):sub(8)
end

local function raise(kind, key)
  version = version + 1
  if kind[key] == nil then known = known + 1 end
  kind[key] = version
  if known > MOST then forget() end  -- rather everything than nothing
end

local function plain(target)
  local path = target:match("^[^?#]*")
  if path:find("%%") then
    path = path:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return path
end

local function versioned(target)
  local path = plain(target)
  local newest = exact[path] or 0
  if next(prefixes) then
    local each = path
    while each ~= "" do
      newest = math.max(newest, prefixes[each] or 0)
      each = each:match("^(.*)/") or ""
    end
    newest = math.max(newest, prefixes["/"] or 0)
  end
  return target .. "#" .. EPOCH .. "." .. newest
end

-- An order is a line each: the kind, a space, and what it names.
local function purge(handle, headers)
  if headers:get("purge-token") ~= TOKEN then
    return handle:respond({ [":status"] = "403" }, "the purge token is needed\n")
  end
  local body, rules = handle:body(), 0
  local order = body and body:getBytes(0, body:length()) or ""
  for kind, what in order:gmatch("(%l+) ([^\n]*)\n") do
    if kind == "path" then
      raise(exact, plain(what))
      rules = rules + 1
    elseif kind == "prefix" then
      raise(prefixes, #what > 1 and plain(what):gsub("/$", "") or what)
      rules = rules + 1
    else
      tagged["\n" .. what] = version  -- for what is still on its way
      for path in pairs(tagged[what] or {}) do
        raise(exact, path)
        rules = rules + 1
      end
      tagged[what] = nil
    end
  end
  handle:respond({ [":status"] = "200" }, tostring(rules))
end

-- Requests under way, by number: metadata holds the number alone, which is cheaper than all of it.
local under_way = {}
local LONG = 600

local function begin(handle, asked)
  number = number + 1
  asked.ask, asked.at = tostring(number), os.time()
  under_way[asked.ask] = asked
  handle:streamInfo():dynamicMetadata():set("tierline", "ask", asked.ask)
  if number % 10000 == 0 then  -- whose client went away gets no answer
    for ask, each in pairs(under_way) do
      if each.at < asked.at - LONG then under_way[ask] = nil end
    end
  end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local method, target = headers:get(":method"), headers:get(":path")
  if method == "POST" and target == "/.tierline/purge" then return purge(handle, headers) end
  if not PLAIN[method] then
    return begin(handle, { unsafe = target, host = headers:get(":authority") })
  end
  if method ~= "GET" and method ~= "HEAD" then return end
  local host = headers:get(":authority")
  if host:find("%u") then headers:replace(":authority", host:lower()) end
  local inner = headers:get("purge-token")
  if inner then
    inner = inner == TOKEN and headers:get("inner-control")
    headers:remove("purge-token")
    headers:remove("inner-control")
  end
  local kept = versioned(target)
  -- The filter's own requests name this machine as the last client: who it is goes beside them (cache_judge.lua).
  local from = headers:get("x-forwarded-for")
  if not from then from = handle:streamInfo():downstreamDirectRemoteAddress():match("^%[?(.-)%]?:%d+$") or "" end
  headers:replace("x-tierline-from", from)
  local key, base = identity(headers, kept)
  local asked = { path = plain(target), version = version, key = key, base = base }
  begin(handle, asked)
  headers:replace("x-tierline-ask", asked.ask)
  if not inner then stale_asked(handle, headers, key, target, asked.ask) end
  headers:replace(":path", kept)
  -- The condition is for us to judge: the filter would go past its copies for it.
  for _, name in ipairs(CONDITIONS) do
    local value = headers:get(name)
    if value then
      asked[name] = value
      headers:remove(name)
    end
  end
  local range = headers:get("range")
  if range then
    -- If-Range has the filter go past its copies; another unit than bytes is none of ours.
    if headers:get("if-range") or not range:find("^bytes=") then
      headers:remove("range")
      headers:remove("if-range")
    end
  end
  if inner then return headers:replace("cache-control", inner) end
  local control = headers:get("cache-control")
  if control and not OBEY then
    headers:replace("x-tierline-control", control)
    headers:remove("cache-control")
  end
  if control and OBEY and control:lower():find("max%-age=0+%f[^%d]") then headers:replace("cache-control", "no-cache") end
  if not OBEY and headers:get("pragma") then headers:remove("pragma") end
end

local function learn(path, names, since)
  for name in names:gmatch("[^%s,]+") do
    if tagged[name] == nil then tagged[name] = {} end
    if tagged[name][path] == nil then
      tags = tags + 1
      if tags > MOST then return forget() end
      tagged[name][path] = true
    end
    -- Purged while it was on its way: it may be the old one.
    if (tagged["\n" .. name] or -1) >= since then raise(exact, path) end
  end
end

local function strong(tag) return (tag:gsub("^%s*W/", ""):gsub("%s+$", "")) end

local function unchanged(headers, asked)
  local etag, none = headers:get("etag"), asked["if-none-match"]
  if none then
    if none:match("^%s*%*%s*$") then return true end
    for each in none:gmatch('W?/?"[^"]*"') do
      if etag and strong(each) == strong(etag) then return true end
    end
    return false
  end
  local modified, since = moment(headers:get("last-modified")), moment(asked["if-modified-since"])
  return modified ~= nil and since ~= nil and modified <= since
end

local function invalidate(headers, asked)
  raise(exact, plain(asked.unsafe))
  for _, name in ipairs({ "location", "content-location" }) do
    local there = headers:get(name)
    if there then
      local host, path = there:match("^https?://([^/]+)(/.*)$")
      if there:find("^/[^/]") or there == "/" then host, path = asked.host, there end
      if host and host:lower() == asked.host:lower() then raise(exact, plain(path)) end
    end
  end
end

-- What an answer says of who asked for it isn't for the next one.
local function unsay(headers, status)
  for _, name in ipairs(PER_CALLER) do headers:remove(name) end
  if tonumber(status) < 300 then
    for _, name in ipairs(PER_CALLER_OF_SUCCESS) do headers:remove(name) end
  end
end

function envoy_on_response(handle)
  local headers, info = handle:headers(), handle:streamInfo():dynamicMetadata()
  headers:remove("x-envoy-upstream-service-time")  -- the cache filter's own client says it, whatever the router is told
  local known = info:get("tierline")
  local asked = known and under_way[known.ask]
  if asked == nil then return end
  under_way[known.ask] = nil
  local status = headers:get(":status")
  if asked.unsafe then
    if tonumber(status) < 400 then invalidate(headers, asked) end
    return
  end
  local came = headers:get("x-tierline-ask")
  headers:remove("x-tierline-ask")
  local fetched = came == asked.ask
  if tonumber(status) >= 500 and not (came and not fetched) then
    local replaced = stale_stands_in(handle, asked.ask)
    headers, info = handle:headers(), handle:streamInfo():dynamicMetadata()  -- those from before the wait are dead
    if replaced then return info:set("tierline", "verdict", "STALE") end
  end
  stale_done(asked.ask)
  local stale = stale_learned(headers, asked)
  local verdict = stale and came and not fetched and "STALE" or fetched and "MISS" or came == asked.ask .. "r" and "REVALIDATED" or came and "HIT"
  if verdict then
    info:set("tierline", "verdict", verdict)
    headers:add("cache-status", "tierline-cache; " .. WORDS[verdict])
  end
  local said = headers:get("x-tierline-status")
  if said then
    headers:remove("x-tierline-status")
    if status == "200" then
      headers:replace(":status", said)
      status = said
    end
  end
  if verdict and verdict ~= "MISS" then unsay(headers, status) end
  for name, away in pairs(BACK) do
    local was = headers:get(name)
    if was then
      headers:remove(name)
      headers:remove(away)
      if was ~= "-" then headers:replace(away, was) end
    end
  end
  local names = headers:get("surrogate-key")
  if names then
    if fetched or verdict == "REVALIDATED" then learn(asked.path, names, asked.version) end
    if ENTRY then headers:remove("surrogate-key") end
  end
  if status == "200" and (asked["if-none-match"] or asked["if-modified-since"]) and unchanged(headers, asked) then
    local size = tonumber(headers:get("content-length") or "")
    if size and size <= SMALL then
      local body = handle:body()
      headers = handle:headers()  -- those from before the wait are dead
      headers:replace(":status", "304")
      if body and body:length() > 0 then body:setBytes("") end
      headers:remove("content-length")
      headers:remove("content-type")
    end
  end
end
