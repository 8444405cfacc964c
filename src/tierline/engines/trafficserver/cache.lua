-- What Traffic Server's own settings don't say: what ends here, what is never kept, and a hop of the trip.
local poison = {
    'Forwarded', 'X-Host', 'X-Original-URL', 'X-Rewrite-URL', 'X-HTTP-Method-Override', 'X-Forwarded-Host',
    'X-Forwarded-Port', 'X-Forwarded-Prefix', 'Proxy', 'x-tierline-claims', 'X-Tl-T', 'X-Tl-P', 'X-Tl-F', 'X-Tl-S',
}
local forwarded = true

local function hex(digits)
    local text = ''
    for _ = 1, digits / 4 do text = text .. string.format('%04x', math.random(0, 65535)) end
    return text
end

local function trace(asked)
    local given = asked['traceparent'] or ''
    local id, parent, flags = string.match(given, '^00%-(%x+)%-(%x+)%-(%x%x)$')
    if not id or #id ~= 32 or #parent ~= 16 then
        id, parent, flags = hex(32), '', math.random(100) == 1 and '01' or '00'
    end
    local span = hex(16)
    asked['traceparent'] = '00-' .. id .. '-' .. span .. '-' .. flags
    asked['X-Tl-T'], asked['X-Tl-P'], asked['X-Tl-F'], asked['X-Tl-S'] = id, parent, flags, span
end

local function has(control, word) return string.find(',' .. control .. ',', '[,%s]' .. word .. '[%s,=]') ~= nil end

local function send_request()
    for _, name in ipairs({'X-Tl-T', 'X-Tl-P', 'X-Tl-F', 'X-Tl-S'}) do ts.server_request.header[name] = nil end
end

local function keep()
    local said = ts.server_response.header
    local control = string.lower(said['Cache-Control'] or '')
    -- Age by the origin's clock, which Traffic Server takes for clock skew.
    local vary = said['Vary'] or ''
    if (has(control, 'private') or string.find(vary, '*', 1, true)
        or (said['Set-Cookie'] and not has(control, 'public') and not has(control, 's%-maxage'))) then
        ts.http.server_resp_set_store(0)
        ts.http.resp_cache_transformed(0)
    end
end

local function send_response()
    if forwarded then ts.client_response.header['Surrogate-Key'] = nil end
    local status = ts.http.get_cache_lookup_status()
    ts.client_response.header['Cache-Status'] = 'tierline-cache; ' ..
        (status == TS_LUA_CACHE_LOOKUP_HIT_FRESH and 'hit' or status == TS_LUA_CACHE_LOOKUP_HIT_STALE and 'fwd=stale' or 'fwd=uri-miss')
end

function do_remap()
    local method, asked = ts.client_request.get_method(), ts.client_request.header
    for _, name in ipairs(poison) do asked[name] = nil end
    trace(asked)
    local host = asked['Host']
    if method == 'PURGE' or method == 'BAN' or method == 'PURGEKEY' then
        ts.http.set_resp(405, 'no\n')
        return 0
    end
    if not host or not string.match(host, '^[%w%.%-_:%[%]]+$') then
        ts.http.set_resp(400, 'no host\n')
        return 0
    end
    asked['Host'] = string.lower(host)
    if asked['Range'] and not string.match(asked['Range'], '^bytes=') then asked['Range'] = nil end
    local body = asked['Transfer-Encoding'] or (tonumber(asked['Content-Length'] or '0') or 0) > 0
    if asked['Authorization'] or asked['If-Match'] or asked['If-Unmodified-Since'] or (body and method == 'GET') then
        ts.http.config_int_set(TS_LUA_CONFIG_HTTP_CACHE_HTTP, 0)
    end
    ts.hook(TS_LUA_HOOK_SEND_REQUEST_HDR, send_request)
    ts.hook(TS_LUA_HOOK_READ_RESPONSE_HDR, keep)
    ts.hook(TS_LUA_HOOK_SEND_RESPONSE_HDR, send_response)
    return 0
end

function __init__(arguments)
    forwarded = arguments[1] == 'entry'
    math.randomseed(os.time() + (tonumber(string.match(tostring({}), '0x(%x+)'), 16) or 0))
    return 0
end
