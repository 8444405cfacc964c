-- Copies of requests for another service, whose answers nobody waits for. After onward.lua.

local MOST = 100  -- on their way at once; what comes then is not copied
local LONGEST = 15  -- seconds that an answer may take

local flying = 0

local function copy(request, to, route)
  if flying >= MOST then return end
  flying = flying + 1
  core.register_task(function()
    pcall(function()
      local socket = onward(request, to, route, LONGEST)
      if not socket then return end
      local status, _, headers = head(socket)
      if status then
        for _ in pieces(socket, status, headers) do end
      end
      socket:close()
    end)
    flying = flying - 1
  end)
end

-- For a request without a body; the others are bodies.lua's.
core.register_action("mirror", { "http-req" }, function(txn)
  local request = { method = txn.sf:method(), target = txn.sf:pathq(), headers = txn.http:req_get_headers(), body = "" }
  copy(request, txn:get_var("txn.mirror"), txn:get_var("txn.route"))
end)
