-- Browsers' logins with OpenID Connect: the authorization code flow (Core 1.0, 3.1) with PKCE (RFC 7636). After json.lua
-- and sealing.lua; `settings` is what login.py writes.
--
-- The rules of the frontend call `login_begin` on every path that is about logins, check the signature of an ID token
-- that it has fetched, and let `login_finish` look at its claims; `login_ask` sends a browser away. What they found:
--
--     txn.login     in, back (from the provider), left (logged out), or why not
--     txn.id_token  fetched just now: nothing of it is believed yet
--     txn.bearer    the ID token of who is logged in
--     txn.location, txn.cookie0…   what the browser is told

local SESSION, ASKED = "tierline-session", "tierline-login-"
local HOST = "__Host-"
local PIECE, PIECES = 3800, 4  -- browsers keep 4096 bytes per cookie
local MINUTES = 600
local WEEK = 604800
local SKEW = 60

local function now() return core.now().sec end

local function encoded(text)
  return (text:gsub("[^A-Za-z0-9._~-]", function(letter) return ("%%%02X"):format(letter:byte()) end))
end

local function unencoded(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function form(pairs_)
  local made = {}
  for number, pair in ipairs(pairs_) do made[number] = pair[1] .. "=" .. encoded(pair[2]) end
  return table.concat(made, "&")
end

local function with(url, pairs_) return url .. (url:find("?", 1, true) and "&" or "?") .. form(pairs_) end

local function origin(txn)
  local scheme, host = txn:get_var("txn.scheme") or "https", txn.sf:req_hdr("host") or ""
  local port = settings.ports[scheme]
  -- Tiers in front may leave the port out of Host; then it is the line's own.
  if port and not host:match(":%d+$") then host = host .. port end
  return scheme .. "://" .. host
end

-- cookies

-- By https a browser takes a name that begins so from this very host alone (RFC 6265bis, 4.1.3.2): a sibling's domain
-- can't plant its own session. By plain http it would take none.
local function named(txn, name) return txn:get_var("txn.scheme") == "http" and name or HOST .. name end

local function read(txn, name) return txn.sf:req_cook(named(txn, name)) end

local function put(txn, name, value, age)
  local count = txn:get_var("txn.cookies") or 0
  txn:set_var("txn.cookies", count + 1)
  txn:set_var("txn.cookie" .. count,
    ("%s=%s; Max-Age=%d; Path=/; HttpOnly; Secure; SameSite=Lax"):format(named(txn, name), value, age))
end

local function piece(number) return number == 0 and SESSION or SESSION .. "-" .. number end

local function carried(txn)
  local found = {}
  for number = 0, PIECES - 1 do
    local value = read(txn, piece(number))
    if value == "" then break end
    found[#found + 1] = value
  end
  return table.concat(found)
end

local function forget(txn, from)
  for number = from, PIECES - 1 do
    if read(txn, piece(number)) ~= "" then put(txn, piece(number), "", 0) end
  end
end

-- sessions: { id_token, till, refresh }

local young, old, count = {}, {}, 0

local function remember(text, session)
  if count >= 1000 then young, old, count = {}, young, 0 end
  young[text], count = session, count + 1
end

local function session_of(txn)
  local text = carried(txn)
  if text == "" then return nil end
  local found = young[text] or old[text]
  if found == nil then
    local opened = open(txn, "session", text)
    if opened == nil then return nil end
    local _, till, id_token, refresh = ("<I1I8s4s4"):unpack(opened)
    found = { till = till, id_token = id_token, refresh = refresh }
    remember(text, found)
  end
  return found
end

local function keep(txn, session)
  local text = seal(txn, "session", ("<I1I8s4s4"):pack(1, session.till, session.id_token, session.refresh))
  if #text > PIECE * PIECES then return false end
  remember(text, session)
  local age, number = session.refresh ~= "" and WEEK or math.max(1, session.till - now()), 0
  for at = 1, #text, PIECE do
    put(txn, piece(number), text:sub(at, at + PIECE - 1), age)
    number = number + 1
  end
  forget(txn, number)
  return true
end

-- the provider

local function string_of(raw) return raw and raw:byte() == 34 and decoded(raw:sub(2, -2)) or nil end

-- What the token endpoint gives, or nil, why not, and whether it has refused.
local function fetched(txn, pairs_)
  local body = form(pairs_)
  -- Each encoded as a form's value (RFC 6749, 2.3.1).
  local basic = txn.c:base64(encoded(settings.client_id) .. ":" .. encoded(settings.client_secret))
  local answer = core.httpclient():post({
    url = settings.token, dst = settings.socket, body = body, timeout = 5000,
    headers = {
      ["content-type"] = { "application/x-www-form-urlencoded" }, ["content-length"] = { tostring(#body) },
      ["accept"] = { "application/json" }, ["authorization"] = { "Basic " .. basic },
    },
  })
  if answer.status ~= 200 then
    return nil, "the provider answers " .. tostring(answer.status), answer.status == 400 or answer.status == 401
  end
  local wanted = { "id_token", "refresh_token", "expires_in" }
  local tree = {}
  for _, name in ipairs(wanted) do tree[name] = { [0] = name } end
  local good, found = pcall(scan, answer.body or "", tree)
  if not good then return nil, "the provider's answer is no JSON: " .. why(found) end
  return {
    id_token = string_of(found.id_token), refresh = string_of(found.refresh_token),
    lives = tonumber(found.expires_in or ""),
  }
end

local function claims_of(txn, token)
  local payload = token:match("^[^.]+%.([^.]+)%.[^.]+$")
  local text = payload and txn.c:ub64dec(payload)
  if not text then return nil end
  local tree = {}
  for _, name in ipairs({ "iss", "sub", "aud", "azp", "exp", "nbf", "nonce" }) do tree[name] = { [0] = name } end
  tree.aud["1"] = { [0] = "second" }
  local good, found = pcall(scan, text, tree)
  return good and found or nil
end

-- Core 1.0, 3.1.3.7. Returns why it isn't good, or nil.
local function wrong(claims)
  if claims == nil then return "no claims" end
  if string_of(claims.iss) ~= settings.issuer then return "another issuer" end
  local aud, azp = claims.aud or "", string_of(claims.azp)
  local several = aud:byte() == 91
  if not (several and holds(aud, settings.client_id)) and string_of(aud) ~= settings.client_id then
    return "another audience"
  end
  if (claims.second or claims.azp) and azp ~= settings.client_id then return "another authorized party" end
  if (tonumber(claims.exp or "") or 0) + SKEW < now() then return "expired" end
  if claims.nbf ~= nil and (tonumber(claims.nbf) or math.huge) > now() + SKEW then return "not yet" end
  return not string_of(claims.sub) and "no subject" or nil
end

-- steps

-- Refresh tokens are often good once: requests that come together with one share what it brings.
local renewing = {}

local function renewed(txn, session)
  local known = renewing[session.refresh]
  if known == nil then
    for name, each in pairs(renewing) do
      if each.till < now() then renewing[name] = nil end
    end
    known = { till = now() + 30 }
    renewing[session.refresh] = known
    local good, got, about, refused = pcall(fetched, txn,
      { { "grant_type", "refresh_token" }, { "refresh_token", session.refresh } })
    known.done, known.got, known.refused = true, good and got or nil, good and refused
    if not known.got then
      txn:Warning("login: " .. tostring(good and about or got))
      if not known.refused then renewing[session.refresh] = nil end  -- it's away: the next one asks again
    end
  end
  for _ = 1, 300 do
    if known.done then return known.got, known.refused end
    core.msleep(20)
  end
end

local function begin_session(txn)
  local session = session_of(txn)
  if session == nil then
    txn:set_var("txn.login", "none")
  elseif session.till > now() then
    txn:set_var("txn.bearer", session.id_token)
    txn:set_var("txn.login", "in")
  else
    local got, refused = nil, true
    if session.refresh ~= "" then got, refused = renewed(txn, session) end
    if not got then
      txn:set_var("txn.login", "over")
      return refused and forget(txn, 0)
    end
    -- It may bring no new ID token (Core 1.0, 12.2): who it is stays what it was.
    txn:set_var("txn.login", "renewed")
    txn:set_var("txn.id_token", got.id_token or session.id_token)
    txn:set_var("txn.refresh", got.refresh or session.refresh)
    txn:set_var("txn.lives", tostring(got.lives or 3600))
    txn:set_var("txn.before", session.id_token)
  end
end

local function begin_answer(txn)
  local given = {}
  for name, text in (txn.sf:query() or ""):gmatch("([^&=]+)=([^&]*)") do given[name] = unencoded(text) end
  local state = given.state or ""
  local name = ASKED .. state:sub(1, 8)
  local sealed = state ~= "" and state:match("^[%w_-]+$") and read(txn, name) or ""
  local opened = sealed ~= "" and open(txn, "asked", sealed)
  if not opened then return txn:set_var("txn.login", "an answer that was not asked for") end
  put(txn, name, "", 0)
  local _, till, asked, nonce, verifier, back, redirect = ("<I1I8s4s4s4s4s4"):unpack(opened)
  if till < now() or not same(asked, state) then return txn:set_var("txn.login", "an answer that was not asked for") end
  if given.error or not given.code then return txn:set_var("txn.login", "the provider refused") end
  local got, about = fetched(txn, {
    { "grant_type", "authorization_code" }, { "code", given.code }, { "redirect_uri", redirect }, { "code_verifier", verifier },
  })
  if got and not got.id_token then about = "the provider gave no ID token" end
  if about then
    txn:Warning("login: " .. about)
    return txn:set_var("txn.login", "the code brought no token")
  end
  txn:set_var("txn.login", "answered")
  txn:set_var("txn.id_token", got.id_token)
  txn:set_var("txn.refresh", got.refresh or "")
  txn:set_var("txn.lives", tostring(got.lives or 3600))
  txn:set_var("txn.nonce", nonce)
  txn:set_var("txn.location", back)
end

local function leave(txn)
  local session = session_of(txn)
  forget(txn, 0)
  local home = origin(txn) .. "/"
  txn:set_var("txn.login", "left")
  if settings.end_session == nil then return txn:set_var("txn.location", home) end
  local told = { { "client_id", settings.client_id }, { "post_logout_redirect_uri", home } }
  if session then table.insert(told, 1, { "id_token_hint", session.id_token }) end
  txn:set_var("txn.location", with(settings.end_session, told))
end

core.register_action("login_begin", { "http-req" }, function(txn)
  local path = txn.sf:path()
  if path == settings.callback then return begin_answer(txn) end
  if path == settings.logout then return leave(txn) end
  begin_session(txn)
end)

-- Its signature has been checked: txn.login_signed.
core.register_action("login_finish", { "http-req" }, function(txn)
  local token, step = txn:get_var("txn.id_token"), txn:get_var("txn.login")
  local before, about = step == "renewed" and txn:get_var("txn.before"), nil
  local till = now() + math.floor(tonumber(txn:get_var("txn.lives")))
  if before ~= token then
    local claims = claims_of(txn, token)
    about = txn:get_var("txn.login_signed") ~= 1 and "no signature of the provider" or wrong(claims)
    if before and not about and claims.sub ~= claims_of(txn, before).sub then about = "somebody else" end
    if step == "answered" and not about and string_of(claims.nonce) ~= txn:get_var("txn.nonce") then
      about = "another nonce"
    end
    -- Whatever the provider says of its access token, who it is is said until then.
    if not about then till = math.min(till, math.floor(tonumber(claims.exp))) end
  end
  local session = { id_token = token, refresh = txn:get_var("txn.refresh"), till = till }
  if not about and not keep(txn, session) then about = "more than cookies hold" end
  if about then
    txn:Warning("login: the ID token: " .. about)
    if step == "renewed" then forget(txn, 0) end
    return txn:set_var("txn.login", "the ID token is no good")
  end
  txn:set_var("txn.bearer", token)
  txn:set_var("txn.login", step == "answered" and "back" or "in")
end)

core.register_action("login_ask", { "http-req" }, function(txn)
  local state, nonce = txn.c:ub64enc(random(24)), txn.c:ub64enc(random(24))
  local verifier, here = txn.c:ub64enc(random(32)), origin(txn)
  -- Logins that were begun and never ended don't pile up.
  local begun, mine = {}, named(txn, ASKED)
  for name in (txn.sf:req_fhdr("cookie") or ""):gmatch("([%w_-]+)=") do
    if name:sub(1, #mine) == mine then begun[#begun + 1] = ASKED .. name:sub(#mine + 1) end
  end
  if #begun >= 5 then
    for number = 1, math.min(#begun, 8) do put(txn, begun[number], "", 0) end
  end
  local redirect = here .. settings.callback
  local back = txn.sf:pathq()
  if #back > 2000 then back = "/" end  -- no cookie holds it
  local asked = ("<I1I8s4s4s4s4s4"):pack(1, now() + MINUTES, state, nonce, verifier, here .. back, redirect)
  put(txn, ASKED .. state:sub(1, 8), seal(txn, "asked", asked), MINUTES)
  txn:set_var("txn.location", with(settings.authorization, {
    { "response_type", "code" }, { "client_id", settings.client_id }, { "redirect_uri", redirect },
    { "scope", settings.scope }, { "state", state }, { "nonce", nonce },
    { "code_challenge", txn.c:ub64enc(txn.c:sha2(verifier, 256)) }, { "code_challenge_method", "S256" },
  }))
end)
