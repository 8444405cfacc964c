-- Between Envoy's cache filter and the next tier: what an answer may be kept for, in the few words that the filter
-- understands: `max-age`, `no-cache`, `no-store`. What the origin said goes along, and cache_ask.lua puts it back.

local HEURISTIC = { ["200"] = 1, ["203"] = 1, ["204"] = 1, ["300"] = 1, ["301"] = 1, ["308"] = 1, ["404"] = 1, ["405"] = 1, ["410"] = 1, ["414"] = 1, ["501"] = 1 }
local KEPT = { ["200"] = 1, ["203"] = 1, ["204"] = 1, ["300"] = 1, ["301"] = 1, ["308"] = 1, ["404"] = 1, ["405"] = 1, ["410"] = 1, ["414"] = 1, ["451"] = 1, ["501"] = 1 }
local LONGEST, DAY = 2147483647, 86400

function envoy_on_request(handle)
  local headers = handle:headers()
  local ask, control = headers:get("x-tierline-ask"), headers:get("x-tierline-control")
  local target, kept = headers:get(":path"):match("^([^#]*)(#?)")
  if kept == "" then return end
  local from = headers:get("x-tierline-from")
  if from then
    headers:remove("x-tierline-from")
    headers:replace("x-forwarded-for", from)
  end
  if control then
    headers:remove("x-tierline-control")
    headers:replace("cache-control", control)
  end
  headers:replace(":path", target)
  headers:remove("x-tierline-ask")
  handle:streamInfo():dynamicMetadata():set("tierline.judge", "ask", ask)
end

local function seconds(text) return text:match("^%d+$") and math.min(tonumber(text), LONGEST) or 0 end

local function directives(text)
  local found, rest = {}, text
  while rest ~= "" do
    local name, after = rest:match('^[%s,;]*([^%s,;="]+)%s*(.*)$')
    if not name then break end
    local value = ""
    if after:sub(1, 1) == "=" then
      local quoted, more = after:match('^=%s*"([^"]*)"(.*)$')
      if quoted then
        value, after = quoted, more
      else
        value, after = after:match('^=%s*([^%s,;"]*)(.*)$')
      end
    end
    name = name:lower()
    if found[name] == nil then found[name] = value end
    rest = after
  end
  return found
end

local function all(headers, name)
  local count = headers:getNumValues(name)
  if count == 0 then return nil end
  local values = {}
  for at = 0, count - 1 do values[#values + 1] = headers:getAtIndex(name, at) end
  return table.concat(values, ", ")
end

-- The fields that the connection names are its own (RFC 9110, 7.6.1).
local function unhop(headers)
  for name in (all(headers, "connection") or ""):gmatch("[^%s,]+") do
    local lower = name:lower()
    if lower ~= "close" and lower ~= "keep-alive" and lower ~= "upgrade" then headers:remove(lower) end
  end
end

function envoy_on_response(handle)
  local about = handle:streamInfo():dynamicMetadata():get("tierline.judge")
  local headers = handle:headers()
  for _, name in ipairs({ "ask", "said", "expires", "status", "fresh", "while", "error" }) do headers:remove("x-tierline-" .. name) end
  unhop(headers)
  if about == nil then return end
  local status, said = headers:get(":status"), all(headers, "cache-control")
  local control, expires = directives(said or ""), headers:get("expires")
  local renewed = status == "304"
  headers:replace("x-tierline-ask", about.ask .. (renewed and "r" or ""))
  local now, date = os.time(), moment(headers:get("date"))
  if date == nil then
    date = now
    headers:replace("date", os.date("!%a, %d %b %Y %H:%M:%S GMT", now))
  end
  local age = headers:get("age")
  if age and not age:match("^%d+$") then headers:remove("age") end
  if renewed and not headers:get("age") then headers:replace("age", "0") end  -- not the stored one's
  -- Without a word of its own, a 304 leaves what was decided before.
  if renewed and said == nil and expires == nil then return end

  local fresh, explicit = 0, true
  if control["s-maxage"] then
    fresh = seconds(control["s-maxage"])
  elseif control["max-age"] then
    fresh = seconds(control["max-age"])
  elseif expires then
    fresh = (moment(expires) or 0) - date
  else
    explicit = false
    local modified = moment(headers:get("last-modified"))
    if HEURISTIC[status] and modified then fresh = math.min((date - modified) / 10, DAY) end
  end
  if control["no-cache"] then fresh = 0 end
  local strict = control["no-cache"] or control["must-revalidate"] or control["proxy-revalidate"]
  local function stale(name, usual)
    if strict then return 0 end
    return control[name] and seconds(control[name]) or control["s-maxage"] and 0 or usual
  end
  fresh = math.max(0, fresh)
  local aside, error = stale("stale-while-revalidate", WHILE), stale("stale-if-error", ERROR)
  local shared = control["public"] or control["s-maxage"]
  local vary = "," .. (all(headers, "vary") or ""):gsub("%s", "") .. ","
  local valid = headers:get("etag") or headers:get("last-modified")
  local store = renewed
    or (tonumber(status) >= 200 and status ~= "206" and not control["private"])
      and (not control["no-store"] or (control["must-understand"] and HEURISTIC[status]))
      and (explicit or control["public"] or HEURISTIC[status])
      and (not headers:get("set-cookie") or shared)
      and not vary:find(",*,", 1, true)
      and (fresh + math.max(aside, error) > 0 or valid)
  headers:replace("x-tierline-said", said or "-")
  headers:remove("cache-control")
  if expires then
    headers:replace("x-tierline-expires", expires)
    headers:remove("expires")
  end
  if store then
    headers:replace("x-tierline-fresh", string.format("%d", fresh))
    headers:replace("x-tierline-while", string.format("%d", aside))
    headers:replace("x-tierline-error", string.format("%d", error))
  end
  -- To the filter, max-age=0 is fresh for the rest of the second.
  local kept = fresh + aside < 1 and "no-cache" or string.format("max-age=%d", fresh + aside)
  headers:add("cache-control", store and kept or "no-store")
  if store and not renewed and not KEPT[status] then
    -- The filter keeps few statuses: under another name it keeps them all.
    headers:replace("x-tierline-status", status)
    headers:replace(":status", "200")
  end
end
