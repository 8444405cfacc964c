-- What Traffic Server's own settings don't say: what ends here, what is never kept, purges, and hops of trips.
--   arguments   `entry` where clients come, or `inner` behind another cache; then the name in Cache-Status, the file
--               of purges; who says who the client is (`first`: this tier itself; `kept`: the one in front; else a
--               secret that shows who may), `=` and what workers want to see; the file of sampled hops, and the zone
--   UNKEYED     is replaced by engines/unkeyed.py
local poison = {UNKEYED, 'x-tierline-claims', 'X-Tl-T', 'X-Tl-P', 'X-Tl-F', 'X-Tl-S', 'X-Tl-V'}
local own = {'X-Tl-At', 'X-Tl-T', 'X-Tl-P', 'X-Tl-F', 'X-Tl-S', 'X-Tl-V'}
local mode, label, orders, hops, place, who, proof = 'entry', 'tierline-cache', '', '', '', 'kept', ''

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

-- Who asks, and where, is what this tier sees, and not what anybody says, unless a tier in front has said it.
local function described(asked)
    if who == 'kept' or (who ~= 'first' and asked['X-Tl-Place'] == who) then return end
    local ip, host = ts.client_request.client_addr.get_addr(), asked['Host']
    asked['X-Forwarded-For'], asked['X-Forwarded-Proto'], asked['X-Forwarded-Host'] = ip, 'http', host
    asked['X-Forwarded-Port'] = string.match(host, ':(%d+)$') or '80'
    local node = string.find(ip, ':', 1, true) and '"[' .. ip .. ']"' or ip
    asked['Forwarded'] = 'for=' .. node .. ';host="' .. host .. '";proto=http'
end

-- The authority of a copy's key (RFC 9110, 4.2.3).
local function normalised(asked)
    local host = string.lower(asked['Host'])
    local usual = asked['X-Forwarded-Proto'] == 'https' and ':443$' or ':80$'
    host = string.gsub(string.gsub(host, usual, ''), ':$', '')
    return (string.gsub(string.gsub(host, '%.$', ''), '%.(:%d+)$', '%1'))
end

local function has(control, word) return string.find(',' .. control .. ',', '[,%s]' .. word .. '[%s,=]') ~= nil end

-- Purges: every line of the file is a kind, a time and a name. Copies that were asked for before that time are
-- misses. Every Lua state has a look when the last one is a twentieth of a second old.
local looked, stamp, purged = 0, nil, {}

local function look()
    local now = ts.now()
    if now - looked < 0.05 then return end
    looked = now
    local file = io.open(orders, 'r')
    if not file then return end
    local first = file:read('*l')
    if first ~= stamp then
        stamp, purged = first, {}
        for line in file:lines() do
            local kind, time, name = string.match(line, '^(%S) (%S+) (.*)$')
            if kind then purged[kind .. name] = tonumber(time) end
        end
    end
    file:close()
end

local function old(path, tags, born)
    local function since(name) return purged[name] and purged[name] >= born end
    if since('=' .. path) or since('^/') then return true end
    local at = #path
    while at > 0 do
        local above = string.sub(path, 1, at)
        if since('^' .. above) or since('^' .. string.gsub(above, '/$', '')) then return true end
        at = at - 1
        while at > 0 and string.sub(path, at + 1, at + 1) ~= '/' do at = at - 1 end
    end
    for tag in string.gmatch(tags or '', '[^%s,]+') do
        if since('#' .. tag) then return true end
    end
    return false
end

local function lookup()
    local status = ts.http.get_cache_lookup_status()
    if status == TS_LUA_CACHE_LOOKUP_HIT_FRESH or status == TS_LUA_CACHE_LOOKUP_HIT_STALE then
        local copy = ts.cached_response.header
        if stamp and old(ts.ctx['path'], copy['Surrogate-Key'], tonumber(copy['X-Tl-Born'] or '0')) then
            ts.http.set_cache_lookup_status(TS_LUA_CACHE_LOOKUP_MISS)
            status = TS_LUA_CACHE_LOOKUP_MISS
        end
    end
    ts.ctx['verdict'] = status == TS_LUA_CACHE_LOOKUP_HIT_FRESH and 'hit'
        or status == TS_LUA_CACHE_LOOKUP_HIT_STALE and 'expired' or 'miss'
    -- Of a part nothing would be kept: the first one fetches the whole, and gets it; later ones are cut from it.
    if ts.ctx['verdict'] == 'miss' and not ts.ctx['passes'] and ts.client_request.get_method() == 'GET' then
        ts.client_request.header['Range'], ts.client_request.header['If-Range'] = nil, nil
    end
    return 0
end

local function send_request()
    local asked = ts.server_request.header
    for _, name in ipairs(own) do asked[name] = nil end
    if proof ~= '' then asked['X-Tl-Line'] = proof end
    ts.ctx['born'] = ts.now()
end

-- What Connection names is of that connection alone (RFC 9110, 7.6.1); KEPT is replaced by engines/hopbyhop.py.
local kept = {KEPT}

local function unname(fields)
    for name in string.gmatch(string.lower(fields['Connection'] or ''), '[^,%s]+') do
        if not kept[name] and string.sub(name, 1, 11) ~= 'x-tierline-' then fields[name] = nil end
    end
end

local function keep()
    local said, status = ts.server_response.header, ts.server_response.get_status()
    -- Traffic Server takes these for final answers (RFC 9110, 15.2); 101 nobody has asked for here.
    if status > 100 and status < 200 and status ~= 103 then
        status = 502
        ts.server_response.set_status(status)
        ts.http.set_server_resp_no_store(1)
    end
    unname(said)
    local control = string.lower(said['Cache-Control'] or '')
    said['X-Tl-Born'] = string.format('%.3f', ts.ctx['born'] or ts.now())
    if ts.ctx['verdict'] == 'expired' then
        ts.ctx['verdict'] = status == 304 and 'revalidated' or status >= 500 and 'stale' or 'expired'
    end
    -- Age by the origin's clock, which Traffic Server takes for clock skew.
    local vary = said['Vary'] or ''
    if (has(control, 'private') or string.find(vary, '*', 1, true)
        or (said['Set-Cookie'] and not has(control, 'public') and not has(control, 's%-maxage'))) then
        ts.http.set_server_resp_no_store(1)
        ts.http.resp_cache_transformed(0)
        if ts.ctx['verdict'] == 'miss' then ts.ctx['verdict'] = 'pass' end
        return
    end
    if has(control, 'no%-store') and ts.ctx['verdict'] == 'miss' then ts.ctx['verdict'] = 'pass' end
end

-- What an answer says of who asked for it isn't for the next one: see engines/percaller.py.
local per_caller = {
    'RateLimit', 'RateLimit-Policy', 'RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset', 'X-RateLimit-Limit',
    'X-RateLimit-Remaining', 'X-RateLimit-Reset', 'x-tierline-policy',
}

local function unsay(said)
    for _, name in ipairs(per_caller) do said[name] = nil end
    if ts.client_response.get_status() < 300 then said['Retry-After'] = nil end
end

local WORDS = {hit = 'hit', stale = 'hit', revalidated = 'hit; fwd=stale; fwd-status=304', expired = 'fwd=stale'}

local function send_response()
    local said, verdict = ts.client_response.header, ts.ctx['verdict'] or 'pass'
    if mode ~= 'inner' then said['Surrogate-Key'] = nil end
    said['X-Tl-Born'] = nil
    if verdict == 'hit' or verdict == 'stale' or verdict == 'revalidated' then unsay(said) end
    said['Cache-Status'] = label .. '; ' .. (WORDS[verdict] or 'fwd=uri-miss')
    ts.client_request.header['X-Tl-V'] = verdict
    -- RFC 9110, 8.6.
    if ts.client_response.get_status() == 204 then said['Content-Length'] = nil end
    ts.ctx['status'], ts.ctx['size'] = ts.client_response.get_status(), said['Content-Length'] or '0'
end

-- A sampled hop is written at once: Traffic Server's own log, which has the others, waits for up to a second.
local function close()
    local began, now = ts.ctx['began'], ts.now()
    local file = io.open(hops, 'a')
    if not file then return 0 end
    file:write(string.format(
        '{"f":"01","s":%d,"t":"%s","i":"%s","p":"%s","T":"cache","y":"trafficserver","z":"%s","b":%.0f,"d":%.0f,"q":1000,"v":"%s","n":"%s",'
        .. '"a":{"http.response.body.size":%s}}\n',
        ts.ctx['status'] or 0, ts.ctx['t'], ts.ctx['i'], ts.ctx['p'], place, began * 1e6, (now - began) * 1e6,
        ts.ctx['verdict'] or 'pass', ts.ctx['name'], tonumber(ts.ctx['size']) or 0))
    file:close()
    return 0
end

-- What is allowed is said with 405 (RFC 9110, 15.5.6); ALLOWED is replaced by engines/hopbyhop.py.
local function allow()
    ts.client_response.header['Allow'] = '{ALLOWED}'
    return 0
end

function do_remap()
    local method, asked = ts.client_request.get_method(), ts.client_request.header
    local path = ts.client_request.get_uri()
    for _, name in ipairs(poison) do asked[name] = nil end
    trace(asked)
    if asked['X-Tl-F'] == '01' then
        ts.ctx['began'], ts.ctx['name'] = ts.now(), method .. ' ' .. string.gsub(path, '[%c"\\]', '')
        ts.ctx['t'], ts.ctx['i'], ts.ctx['p'] = asked['X-Tl-T'], asked['X-Tl-S'], asked['X-Tl-P']
        ts.hook(TS_LUA_HOOK_TXN_CLOSE, close)
    end
    local host = asked['Host']
    unname(asked)
    if method == 'TRACE' or method == 'CONNECT' then
        ts.http.set_resp(501, 'no\n')
        return 0
    end
    if method == 'PURGE' or method == 'BAN' or method == 'PURGEKEY' then
        ts.http.set_resp(405, 'no\n')
        ts.hook(TS_LUA_HOOK_SEND_RESPONSE_HDR, allow)
        return 0
    end
    if not host or not string.match(host, '^[%w%.~_:%[%]-]+$') then
        ts.http.set_resp(400, 'no host\n')
        return 0
    end
    described(asked)
    -- Who speaks HTTP/1.0 waits for no 100 (RFC 9110, 10.1.1).
    if ts.client_request.get_version() == '1.0' then asked['Expect'] = nil end
    asked['X-Tl-Place'], asked['X-Tl-At'] = nil, normalised(asked)
    if asked['Range'] and not string.match(asked['Range'], '^bytes=') then asked['Range'] = nil end
    local body = asked['Transfer-Encoding'] or (tonumber(asked['Content-Length'] or '0') or 0) > 0
    if asked['Authorization'] or asked['If-Match'] or asked['If-Unmodified-Since'] or (body and method == 'GET') then
        ts.http.config_int_set(TS_LUA_CONFIG_HTTP_CACHE_HTTP, 0)
        ts.ctx['passes'] = true
    end
    if string.lower(asked['Upgrade'] or '') == 'websocket' then
        -- With several next hops it would end the connection without a word.
        ts.http.set_resp(501, 'no WebSocket goes through here\n')
        return 0
    end
    ts.ctx['path'] = ts.unescape_uri(path)
    look()
    ts.hook(TS_LUA_HOOK_CACHE_LOOKUP_COMPLETE, lookup)
    ts.hook(TS_LUA_HOOK_SEND_REQUEST_HDR, send_request)
    ts.hook(TS_LUA_HOOK_READ_RESPONSE_HDR, keep)
    ts.hook(TS_LUA_HOOK_SEND_RESPONSE_HDR, send_response)
    return 0
end

function __init__(arguments)
    mode, label, orders, who, proof = arguments[1], arguments[2], arguments[3], arguments[4], string.sub(arguments[5], 2)
    hops, place = arguments[6], arguments[7]
    local file = io.open(hops, 'a')
    if file then file:close() end
    math.randomseed(os.time() + (tonumber(string.match(tostring({}), '0x(%x+)'), 16) or 0))
    return 0
end
