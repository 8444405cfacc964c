-- Shapes a JSON body (RFC 8259) by a template. The document is checked as a whole, and the values that the template
-- asks for are copied as they are written: no number is rounded, no text is decoded and encoded again.

local DEEPEST = 100

local function fail(why) error({ why = why }, 0) end

local function blank(text, at)
  local _, last = text:find("^[ \t\r\n]*", at)
  return last + 1
end

-- at: behind the opening quote. Returns where the closing one is.
local function closing(text, at)
  while true do
    local found = text:find('[%z\1-\31"\\]', at)
    if found == nil then fail("a string has no end") end
    local byte = text:byte(found)
    if byte == 34 then return found end
    if byte ~= 92 then fail("a string holds a control character") end
    if text:find('^["\\/bfnrt]', found + 1) then
      at = found + 2
    elseif text:find("^u%x%x%x%x", found + 1) then
      at = found + 6
    else
      fail("a string holds an unknown escape")
    end
  end
end

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function key_of(text)
  if not text:find("\\", 1, true) then return text end
  text = text:gsub("\\u00(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  return (text:gsub("\\(.)", function(letter) return ESCAPES[letter] or letter end))
end

local function number(text, at)
  local _, last = text:find("^-?%d+", at)
  if last == nil then fail("something is no JSON value") end
  if text:find("^-?0%d", at) then fail("a number begins with 0") end
  if text:sub(last + 1, last + 1) == "." then
    local _, more = text:find("^%.%d+", last + 1)
    if more == nil then fail("a number ends with its point") end
    last = more
  end
  if text:find("^[eE]", last + 1) then
    local _, more = text:find("^[eE][+-]?%d+", last + 1)
    if more == nil then fail("a number has no exponent") end
    last = more
  end
  return last + 1
end

-- wanted: a tree of member names (or positions from 0) with `[0]` = name where a value is asked for.
local value

local function members(text, at, wanted, found, depth)
  at = blank(text, at + 1)
  if text:byte(at) == 125 then return at + 1 end
  while true do
    if text:byte(at) ~= 34 then fail("an object's member has no name") end
    local last = closing(text, at + 1)
    local below = wanted and wanted[key_of(text:sub(at + 1, last - 1))]
    at = blank(text, last + 1)
    if text:byte(at) ~= 58 then fail("a name has no value") end
    at = blank(text, value(text, blank(text, at + 1), below, found, depth))
    local byte = text:byte(at)
    if byte == 125 then return at + 1 end
    if byte ~= 44 then fail("an object has no end") end
    at = blank(text, at + 1)
  end
end

local function items(text, at, wanted, found, depth)
  at = blank(text, at + 1)
  if text:byte(at) == 93 then return at + 1 end
  local position = 0
  while true do
    at = blank(text, value(text, at, wanted and wanted[tostring(position)], found, depth))
    position = position + 1
    local byte = text:byte(at)
    if byte == 93 then return at + 1 end
    if byte ~= 44 then fail("an array has no end") end
    at = blank(text, at + 1)
  end
end

local WORDS = { [116] = "true", [102] = "false", [110] = "null" }

value = function(text, at, wanted, found, depth)
  if depth > DEEPEST then fail("it is nested too deeply") end
  local begin, byte = at, text:byte(at)
  if byte == 34 then
    at = closing(text, at + 1) + 1
  elseif byte == 123 then
    at = members(text, at, wanted, found, depth + 1)
  elseif byte == 91 then
    at = items(text, at, wanted, found, depth + 1)
  elseif WORDS[byte] then
    local word = WORDS[byte]
    if text:sub(at, at + #word - 1) ~= word then fail("something is no JSON value") end
    at = at + #word
  else
    at = number(text, at)
  end
  local name = wanted and wanted[0]
  if name then found[name] = text:sub(begin, at - 1) end
  return at
end

local function scan(text, wanted)
  local found = {}
  local at = blank(text, value(text, blank(text, 1), wanted, found, 0))
  if at <= #text then fail("something follows its end") end
  return found
end

-- Whether all bytes are well-formed UTF-8.
local function unicode(text)
  if not text:find("[\128-\255]") then return true end
  text = text:gsub("[\194-\223][\128-\191]", ""):gsub("\224[\160-\191][\128-\191]", "")
  text = text:gsub("[\225-\236\238\239][\128-\191][\128-\191]", ""):gsub("\237[\128-\159][\128-\191]", "")
  text = text:gsub("\240[\144-\191][\128-\191][\128-\191]", "")
  text = text:gsub("[\241-\243][\128-\191][\128-\191][\128-\191]", ""):gsub("\244[\128-\143][\128-\191][\128-\191]", "")
  return not text:find("[\128-\255]")
end

local function escaped(text)
  return (text:gsub('[%z\1-\31"\\]', function(letter) return ("\\u%04x"):format(letter:byte()) end))
end

-- A value of the address as JSON's text: decoded when that is text, as it came otherwise.
local function plain(text, space)
  local decoded = (space and text:gsub("+", " ") or text):gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end)
  return escaped(unicode(decoded) and decoded or text)
end

local function filled(parts, found)
  local made = {}
  for number, part in ipairs(parts) do
    if type(part) == "string" then
      made[number] = part
    else
      local given = found[part.name]
      if part.whole then
        made[number] = given or "null"
      elseif given == nil or given == "null" then
        made[number] = ""
      elseif given:byte() == 34 then
        made[number] = given:sub(2, -2)
      else
        made[number] = escaped(given)
      end
    end
  end
  return table.concat(made)
end

local function json(headers)
  local kind = (headers:get("content-type") or ""):lower()
  return kind:find("^application/json") or kind:find("^application/[%w.+-]*%+json")
end

local function shaped(text, shape, found)
  if not unicode(text) then fail("it is not UTF-8") end
  for name, raw in pairs(scan(text, shape.wanted)) do found[name] = raw end
  return filled(shape.parts, found)
end

-- Of the request's address and headers, what the template asks for, each as JSON text in quotes.
local function asked(shape, headers)
  local found = {}
  local path, query = (headers:get(":path") or ""):match("^([^?]*)%??(.*)$")
  if shape.path then
    for number, text in ipairs({ path:match(shape.path) }) do
      found[shape.params[number]] = '"' .. plain(text) .. '"'
    end
  end
  for pair in query:gmatch("[^&]+") do
    local name, text = pair:match("^([^=]*)=?(.*)$")
    found["query:" .. name] = '"' .. plain(text, true) .. '"'
  end
  for _, name in ipairs(shape.headers) do
    local text = headers:get(name)
    if text ~= nil and unicode(text) then found["header:" .. name] = '"' .. escaped(text) .. '"' end
  end
  return found
end

local function why(problem) return type(problem) == "table" and problem.why or tostring(problem) end

local function on_request(handle, shape)
  local headers = handle:headers()
  local method = headers:get(":method")
  if method ~= "POST" and method ~= "PUT" and method ~= "PATCH" then return end
  local found = asked(shape, headers)
  local body = handle:body(true)
  headers = handle:headers()  -- waiting for a body ends what was held before
  local text = body:length() > 0 and body:getBytes(0, body:length()) or ""
  if shape.needs and text == "" then
    handle:respond({ [":status"] = "400" }, "a JSON body is needed")
    return
  end
  if text ~= "" and not json(headers) then
    handle:respond({ [":status"] = "415" }, "application/json is needed")
    return
  end
  local good, made = pcall(shaped, text ~= "" and text or "null", shape, found)
  if not good then
    handle:respond({ [":status"] = "400" }, "the body is no JSON: " .. why(made))
    return
  end
  body:setBytes(made)
  headers:remove("transfer-encoding")
  headers:replace("content-length", tostring(#made))
  headers:replace("content-type", "application/json")
end

local function on_response(handle, shape)
  local headers = handle:headers()
  local status = headers:get(":status")
  if not status:find("^2") or status == "204" or status == "206" or not json(headers) then return end
  headers:remove("content-length")
  for _, name in ipairs({ "content-digest", "repr-digest", "digest", "content-md5", "accept-ranges" }) do
    headers:remove(name)
  end
  local body = handle:body()
  headers = handle:headers()
  if body == nil or body:length() == 0 then return end
  local encoding = headers:get("content-encoding")
  local good, made = false, { why = "it is encoded as " .. (encoding or "") }
  if encoding == nil or encoding == "identity" then
    good, made = pcall(shaped, body:getBytes(0, body:length()), shape, {})
  end
  if not good then
    headers:replace(":status", "502")
    headers:replace("content-type", "application/problem+json")
    headers:replace("cache-control", "no-store")
    headers:remove("etag")
    made = '{"type":"about:blank","status":502,"title":"The service gave no JSON","detail":"'
      .. escaped(why(made)) .. '"}'
  end
  body:setBytes(made)
  headers:replace("content-length", tostring(#made))
end
