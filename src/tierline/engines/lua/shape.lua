-- Shapes JSON by a template: the values that it asks for are copied as they are written, so no number is rounded and
-- no text is decoded and encoded again. After json.lua.

-- Whether all bytes are well-formed UTF-8. A blank stays for each character, so that no halves around one join.
local function unicode(text)
  if not text:find("[\128-\255]") then return true end
  text = text:gsub("[\194-\223][\128-\191]", " "):gsub("\224[\160-\191][\128-\191]", " ")
  text = text:gsub("[\225-\236\238\239][\128-\191][\128-\191]", " "):gsub("\237[\128-\159][\128-\191]", " ")
  text = text:gsub("\240[\144-\191][\128-\191][\128-\191]", " ")
  text = text:gsub("[\241-\243][\128-\191][\128-\191][\128-\191]", " "):gsub("\244[\128-\143][\128-\191][\128-\191]", " ")
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

local function shaped(text, shape, found)
  if not unicode(text) then fail("it is not UTF-8") end
  for name, raw in pairs(scan(text, shape.wanted)) do found[name] = raw end
  return filled(shape.parts, found)
end

-- headers: something whose `get` gives a header's value, and the address as `:path`.

local function json(headers)
  local kind = (headers:get("content-type") or ""):lower()
  return kind:find("^application/json") or kind:find("^application/[%w.+-]*%+json")
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
