-- Rate limits and quotas of the whole line. Known: LIMITS, what is counted (limits.py); CLUSTER, the line's counter;
-- TOKEN, which it asks for; DEADLINE, the milliseconds that it has for an answer; NAME, this filter's; LAST, whether
-- another has told its limits before this one does.
--
-- The counter (engines/counter) has the truth. A request asks it when the limit is a quota, when this gateway has let
-- in a sixteenth of what is left without asking, or when nobody has asked for ten milliseconds; all others are let in by
-- what was told last, and are reported by who asks next. So small limits and quotas are exact, and a busy gateway
-- asks a hundred times a second whatever its load. Of a large quota who asks often gets a thousandth of what is left at
-- once. Without an answer a gateway counts alone until the counter is back.
--
-- All of this is the worker's own memory, and there is one worker.
local SLICE, LEASE, EVERY, OFTEN, PAUSE = 16, 1000, 10, 100, 500 -- parts, and milliseconds
local REMAINING, SECONDS = 2 ^ 24, 2 ^ 22 -- what is told has these bounds, so that it fits into a number
local MOST = 20000 -- keys remembered; the longest unseen are forgotten
local LONGEST, REPORT = 256, 2 ^ 18 -- bytes of a key, and of a report: the counter takes four times as much
local ASK = { [":method"] = "POST", [":path"] = "/take", [":authority"] = "limits", authorization = TOKEN }
local asked, away, dirty, owing = 0, 0, {}, 0
for number, limit in ipairs(LIMITS) do limit.number, limit.keys, limit.before, limit.count = number - 1, {}, {}, 0 end
collectgarbage("setpause", 400) -- a small heap, and short lives: looking for garbage costs more than having it

-- How many are left of what an entry knows.
local function left(entry, limit, now)
  if limit.window then
    if now >= entry.resets then entry.tokens, entry.lease, entry.resets = limit.most, 0, now + limit.per end
    return entry.tokens
  end
  local tokens = entry.tokens + math.max(0, now - entry.at) * limit.rate -- a clock may go back
  if tokens > limit.most then tokens = limit.most end
  entry.tokens, entry.at = tokens, now
  return tokens
end

-- Milliseconds until one more is let in, and until all are there again.
local function waits(limit, entry, now)
  if limit.window then return entry.resets - now, entry.resets - now end
  return (1 - entry.tokens) / limit.rate, (limit.most - entry.tokens) / limit.rate
end

local function entry_of(limit, who, now)
  local entry = limit.keys[who]
  if entry then return entry end
  entry = limit.before[who]
  if not entry then
    local name = who:gsub("%c", function(c) return string.format("%%%02X", c:byte()) end)
    entry = { limit = limit, tokens = limit.most, at = now, resets = now + limit.per, spent = 0, lease = 0, last = now, asked = 0,
              head = limit.head .. name .. "\t" }
  end
  if limit.count >= MOST then limit.before, limit.keys, limit.count = limit.keys, {}, 0 end
  limit.keys[who], limit.count = entry, limit.count + 1
  return entry
end

-- The one reading that all spellings of a path share, where the line takes them as they are sent (plan/paths.py): decoded,
-- however often it was encoded, without parameters of segments, with single slashes. In one pass, however long it is.
local function plain(path)
  path = path:match("^[^?]*")
  if not path:find("[%%;\\]") and not path:find("//", 1, true) then return path end
  local pieces, at = {}, 1
  while at <= #path do
    local piece = path:match("^[^%%]+", at)
    if piece then
      at = at + #piece
    else
      local digits = at + 1
      while path:find("^25%x%x", digits) do digits = digits + 2 end
      local code = path:match("^%x%x", digits)
      piece = code and string.char(tonumber(code, 16)) or "%"
      at = code and digits + 2 or at + 1
    end
    pieces[#pieces + 1] = piece
  end
  return (table.concat(pieces):gsub("\\", "/"):gsub(";[^/]*", ""):gsub("/+", "/"))
end

local function below(path, prefixes)
  for i = 1, #prefixes do
    local prefix = prefixes[i]
    local next = path:byte(#prefix + 1)
    -- By whole segments, whatever the query says: "/" or "?" or the end.
    if (next == nil or next == 47 or next == 63) and path:sub(1, #prefix) == prefix then return true end
  end
  return false
end

-- What a name is remembered by: itself, or its beginning and a sum over all of it, as 20,000 names may be of any length.
local function key_of(who)
  if #who <= LONGEST then return who end
  local sum = #who
  for at = 1, #who do sum = (sum * 257 + who:byte(at)) % 8796093022151 end -- a prime, and small enough to be exact
  return ("%s~%d~%.0f"):format(who:sub(1, LONGEST - 32), #who, sum)
end

-- Who is counted by a limit; nil: this request isn't.
local function who_of(limit, handle, headers)
  if limit.by == "" then return "" end
  if limit.by ~= "address" then
    local who = headers:get(limit.by)
    if who == nil or (limit.members and not limit.members[who]) then return nil end
    return key_of(who)
  end
  local address = handle:streamInfo():downstreamRemoteAddress()
  local colon = address:find(":%d+$")
  return colon and address:sub(1, colon - 1) or address
end

local function fields(limit, entry, now)
  local _, reset = waits(limit, entry, now)
  local remaining = math.max(0, math.floor(entry.tokens))
  local seconds = math.max(0, math.ceil(reset / 1000))
  return remaining, seconds
end

local function refuse(handle, entry, now)
  local limit = entry.limit
  local wait = waits(limit, entry, now)
  local remaining, seconds = fields(limit, entry, now)
  handle:respond({
    [":status"] = "429", ["retry-after"] = tostring(math.max(1, math.ceil(wait / 1000))),
    ["x-tierline-policy"] = limit.name, ["ratelimit-limit"] = limit.said, ["ratelimit-policy"] = limit.policy,
    ["ratelimit-remaining"] = tostring(remaining), ["ratelimit-reset"] = tostring(seconds),
    ["ratelimit"] = limit.quoted .. ";r=" .. remaining .. ";t=" .. seconds,
  }, "at most " .. limit.requests .. " in " .. limit.per / 1000 .. " s")
end

-- To be reported by whoever asks next. Beyond so many keys each is reported by its own next request.
local function owe(entry)
  if dirty[entry] or owing >= MOST then return end
  dirty[entry], owing = true, owing + 1
end

local function spend(entry, now)
  if entry.lease > 0 then
    entry.tokens, entry.lease = entry.tokens - 1, entry.lease - 1
    return
  end
  entry.tokens, entry.spent, entry.last = entry.tokens - 1, entry.spent + 1, now
  owe(entry)
end

-- Ask for one of each, and report what was let in before. True or false as the counter says; nil: it doesn't answer.
local function ask(handle, mine, count, now)
  local entries, spent, lines, size = {}, {}, {}, 0
  local function line(entry, want)
    local n = #entries + 1
    entries[n], spent[n] = entry, entry.spent
    lines[n] = entry.head .. entry.spent .. "\t" .. math.floor(now - entry.last) .. "\t" .. want
    if dirty[entry] then dirty[entry], owing = nil, owing - 1 end
    entry.spent, size = 0, size + #lines[n] + 1
  end
  for i = 1, count do
    local entry = mine[i]
    local want = entry.limit.window and now - entry.asked < OFTEN and math.floor(entry.tokens / LEASE) or 1
    entry.asked = now
    line(entry, math.max(1, want))
  end
  for entry in pairs(dirty) do
    line(entry, "0")
    if #lines >= 500 or size > REPORT then break end
  end
  asked = now
  local got, body = handle:httpCall(CLUSTER, ASK, table.concat(lines, "\n"), { timeout_ms = DEADLINE, send_xff = false })
  now = handle:timestamp()
  if not got or got[":status"] ~= "200" or not body then
    if away == 0 then handle:logErr(NAME .. ": the counter is away (" .. CLUSTER .. "), this gateway counts alone") end
    away = now + PAUSE
    for n, entry in ipairs(entries) do
      -- It is reported when the counter is back; of a bucket no more than what hasn't filled up again meanwhile.
      local owed, limit = entry.spent + spent[n], entry.limit
      if not limit.window then owed = math.min(owed, math.ceil(limit.most - left(entry, limit, now))) end
      if owed > 0 then
        entry.spent = owed
        owe(entry)
      end
    end
    return nil, now
  end
  if away ~= 0 then handle:logErr(NAME .. ": the counter is back") end
  away = 0
  local n = 0
  for tokens, reset, taken in body:gmatch("([%-%d%.]+) (%d+) (%d+)\n") do
    n = n + 1
    local entry = entries[n]
    entry.lease = entry.lease + math.max(0, tonumber(taken) - 1)
    entry.tokens, entry.at, entry.resets = tonumber(tokens) + entry.lease - entry.spent, now, now + tonumber(reset)
  end
  return body:byte(1) == 43, now -- "+"
end

function envoy_on_request(handle)
  local headers, now, path, mine, count = handle:headers(), nil, nil, nil, 0
  for i = 1, #LIMITS do
    local limit = LIMITS[i]
    if limit.paths and not path then
      path = headers:get(":path")
      if AS_SENT then path = plain(path) end
    end
    if not limit.paths or below(path, limit.paths) then
      local who = who_of(limit, handle, headers)
      if who then
        now, mine, count = now or handle:timestamp(), mine or {}, count + 1
        mine[count] = entry_of(limit, who, now)
      end
    end
  end
  if count == 0 then return end
  if now < asked then asked, away = 0, math.min(away, now) end -- a clock may go back
  local must = now >= asked + EVERY
  for i = 1, count do
    local entry = mine[i]
    local tokens = left(entry, entry.limit, now)
    if tokens < 1 then return refuse(handle, entry, now) end
    if entry.limit.window then
      must = must or entry.lease < 1
    else
      must = must or (entry.spent + 1) * SLICE > tokens + entry.spent
    end
  end
  local allowed = nil
  if must and now >= away then allowed, now = ask(handle, mine, count, now) end
  local least, part = nil, 2
  for i = 1, count do
    local entry = mine[i]
    local tokens = left(entry, entry.limit, now)
    if tokens < 1 and allowed ~= true then return refuse(handle, entry, now) end
    if tokens / entry.limit.most < part then least, part = entry, tokens / entry.limit.most end
  end
  if allowed == false then return refuse(handle, least, now) end
  if allowed == nil then
    for i = 1, count do spend(mine[i], now) end
  end
  -- Told on the way back: one number in the request's metadata, as each string and table costs more than all else here.
  local remaining, seconds = fields(least.limit, least, now)
  local said = (least.limit.number * REMAINING + math.min(remaining, REMAINING - 1)) * SECONDS + math.min(seconds, SECONDS - 1)
  handle:streamInfo():dynamicMetadata():set(NAME, "left", said)
end

function envoy_on_response(handle)
  local said = handle:streamInfo():dynamicMetadata():get(NAME)
  if said == nil then return end
  said = said.left
  local seconds = said % SECONDS
  said = (said - seconds) / SECONDS
  local remaining = said % REMAINING
  local limit, headers = LIMITS[(said - remaining) / REMAINING + 1], handle:headers()
  if LAST then
    -- Of a limit and a quota the tighter one is told; the quota's filter has spoken.
    local other, of = headers:get("ratelimit-remaining"), headers:get("ratelimit-limit")
    other, of = tonumber(other or ""), tonumber(of or "")
    if other and of and other * limit.most < remaining * of then return end
  end
  headers:replace("ratelimit-limit", limit.said)
  headers:replace("ratelimit-remaining", remaining)
  headers:replace("ratelimit-reset", seconds)
  headers:replace("ratelimit-policy", limit.policy)
  headers:replace("ratelimit", limit.quoted .. ";r=" .. remaining .. ";t=" .. seconds)
end
