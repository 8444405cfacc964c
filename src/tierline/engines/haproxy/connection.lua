-- Fields that a message's Connection names end here (RFC 9110, 7.6.1); HAProxy itself leaves them in.
--   KEPT   is replaced by engines/hopbyhop.py: what can't be named away
local kept = {KEPT}

local function unname(http, get, remove)
    for _, line in pairs(get(http)['connection'] or {}) do
        for name in string.gmatch(string.lower(line), '[^,%s]+') do
            if not kept[name] and string.sub(name, 1, 11) ~= 'x-tierline-' then remove(http, name) end
        end
    end
end

core.register_action('unname_request', {'http-req'}, function(txn)
    unname(txn.http, txn.http.req_get_headers, txn.http.req_del_header)
end)
core.register_action('unname_answer', {'http-res'}, function(txn)
    unname(txn.http, txn.http.res_get_headers, txn.http.res_del_header)
end)
