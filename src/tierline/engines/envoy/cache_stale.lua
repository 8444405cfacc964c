-- What Envoy's cache filter doesn't know of RFC 5861: a copy that may be stale while it is fetched anew is kept for that
-- long, too, and whoever finds it stale has it fetched; one that may stand in for an error is found by a second look.
-- Both ask this cache itself, with a word that only we can say. What is known of copies is by URL and what varies.

local ASIDE = 5           -- seconds in which one fetch beside is enough
local copies, varied, count = {}, {}, 0
local pending, waiting = {}, 0
local OURS = { ["x-tierline-fresh"] = "fresh", ["x-tierline-while"] = "swr", ["x-tierline-error"] = "sie" }
local LEFT = {
  [":scheme"] = true, ["connection"] = true, ["content-length"] = true, ["range"] = true, ["if-range"] = true,
  ["via"] = true, ["cache-control"] = true, ["pragma"] = true, ["if-none-match"] = true, ["if-modified-since"] = true,
}

local function identity(headers, target)
  local base = headers:get(":authority") .. (headers:get("x-forwarded-proto") or "") .. target
  local key = base
  for _, name in ipairs(varied[base] or {}) do key = key .. "\n" .. (headers:get(name) or "") end
  return key, base
end

local function again(headers, target, control)
  local call = { ["purge-token"] = TOKEN, ["inner-control"] = control }
  for name, value in pairs(headers) do
    if not LEFT[name] and name:sub(1, 11) ~= "x-tierline-" then call[name] = value end
  end
  call[":method"], call[":path"] = "GET", target
  -- It is counted, and no part of this trip.
  if call.traceparent then call.traceparent = call.traceparent:gsub("%x%x$", "00") end
  return call
end

function stale_asked(handle, headers, key, target, ask)
  local copy, now = copies[key], os.time()
  if copy == nil or now < copy.stale then return end
  if now < copy.swr then
    if now >= copy.aside then
      copy.aside = now + ASIDE
      handle:httpCall(SELF, again(headers, target, "no-cache"), "", {
        asynchronous = true, timeout_ms = 10000, send_xff = false,
      })
    end
  elseif now < copy.sie then
    if waiting > 1000 then pending, waiting = {}, 0 end
    pending[ask], waiting = again(headers, target, "max-stale=2147483647"), waiting + 1
  end
end

-- What the answer says of its copy; the fields that say it end here.
function stale_learned(headers, asked)
  local said = {}
  for name, short in pairs(OURS) do
    said[short] = tonumber(headers:get(name) or "")
    if said[short] then headers:remove(name) end
  end
  if said.fresh == nil then return end
  local vary, names = headers:get("vary"), {}
  for name in (vary or ""):gmatch("[^%s,]+") do names[#names + 1] = name:lower() end
  if vary and varied[asked.base] == nil then
    varied[asked.base], asked.key = names, nil  -- which variant this was is known from the next one on
  end
  local age = tonumber(headers:get("age") or "0") or 0
  local stale = os.time() - age + said.fresh
  if asked.key == nil or (said.swr == 0 and said.sie == 0) then return age >= said.fresh end
  if copies[asked.key] == nil then count = count + 1 end
  if count > MOST then copies, varied, count = {}, {}, 0 end
  copies[asked.key] = { stale = stale, swr = stale + said.swr, sie = stale + said.sie, aside = (copies[asked.key] or {}).aside or 0 }
  return age >= said.fresh
end

-- Whether an error was replaced by the copy that may stand in for it.
function stale_stands_in(handle, ask)
  local call = pending[ask]
  if call == nil then return false end
  pending[ask], waiting = nil, waiting - 1
  handle:body(true)  -- held back: once it is on its way, it can't be another one
  local got, body = handle:httpCall(SELF, call, "", { timeout_ms = 2000, send_xff = false })
  if not (got["cache-status"] or ""):find("hit") then return false end
  local headers, before = handle:headers(), {}
  for name in pairs(headers) do before[#before + 1] = name end
  for _, name in ipairs(before) do
    if name:sub(1, 1) ~= ":" then headers:remove(name) end
  end
  for name, value in pairs(got) do
    if name ~= "connection" and name ~= "transfer-encoding" and name ~= "content-length" and name ~= "via" then
      headers:replace(name, value)
    end
  end
  local held = handle:body(true)
  held:setBytes(body or "")
  handle:headers():replace("content-length", tostring(#(body or "")))
  return true
end

-- An answer that needed no stand-in, or the end of one that never came.
function stale_done(ask)
  if pending[ask] then pending[ask], waiting = nil, waiting - 1 end
end
