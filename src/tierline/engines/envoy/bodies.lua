-- Bodies on their way through Envoy. After json.lua and shape.lua.

-- The trace, for an answer that has to be refused.
local function remember(handle)
  local trace = (handle:headers():get("traceparent") or ""):match("^00%-(%x+)%-")
  if trace then handle:streamInfo():dynamicMetadata():set("tierline.bodies", "trace", trace) end
end

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
      .. escaped(why(made)) .. '"'
    local told = handle:streamInfo():dynamicMetadata():get("tierline.bodies")
    made = made .. (told and ',"trace_id":"' .. told.trace .. '"' or "") .. "}"
  end
  body:setBytes(made)
  headers:replace("content-length", tostring(#made))
end
