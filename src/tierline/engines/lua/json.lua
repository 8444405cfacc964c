-- Reads JSON (RFC 8259): checks a document as a whole, and finds values in it as they are written. For LuaJIT (Envoy)
-- and Lua 5.4 (HAProxy). PAUSE: a local of the program's, where it can let others go first now and then; else nil.

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

local function character(code)
  if code < 128 then return string.char(code) end
  if code < 2048 then return string.char(192 + math.floor(code / 64), 128 + code % 64) end
  return string.char(224 + math.floor(code / 4096), 128 + math.floor(code / 64) % 64, 128 + code % 64)
end

-- What the inside of a string's quotes, which `closing` has checked, stands for.
local function decoded(text)
  if not text:find("\\", 1, true) then return text end
  return (text:gsub("\\(.)(%x?%x?%x?%x?)", function(letter, hex)
    if letter == "u" then return character(tonumber(hex, 16)) end
    return (ESCAPES[letter] or letter) .. hex
  end))
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
    local below = wanted and wanted[decoded(text:sub(at + 1, last - 1))]
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

local values = 0

value = function(text, at, wanted, found, depth)
  if depth > DEEPEST then fail("it is nested too deeply") end
  values = values + 1
  if PAUSE and values % 5000 == 0 then PAUSE() end
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

-- Whether an array, as `scan` has found it, has this string in it.
local function holds(raw, wanted)
  local at = blank(raw, 2)
  while raw:byte(at) ~= 93 do
    if raw:byte(at) == 34 then
      local last = closing(raw, at + 1)
      if decoded(raw:sub(at + 1, last - 1)) == wanted then return true end
    end
    at = blank(raw, value(raw, at, nil, {}, 0))
    if raw:byte(at) == 44 then at = blank(raw, at + 1) end
  end
  return false
end

local function why(problem) return type(problem) == "table" and problem.why or tostring(problem) end
