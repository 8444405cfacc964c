-- What the gateway gives browsers to keep: nobody else can read or change it.
--
-- HAProxy 2.8 decrypts AES-GCM, but doesn't encrypt. Its HMAC is a pseudorandom function, and from one a cipher follows:
-- in counter mode (NIST SP 800-108r1, 4.1) over a nonce that is used once it is a key stream, and a second key of the
-- same signs what came out (encrypt, then MAC: RFC 7366). The nonce has 128 bits from the kernel.

local random
do
  local source = assert(io.open("/dev/urandom", "rb"))
  source:setvbuf("no")
  random = function(count) return source:read(count) end
end

-- A key for each purpose, so that what was sealed for one opens for no other.
local keys = {}

local function keys_for(txn, purpose)
  local found = keys[purpose]
  if not found then
    local function derived(use)
      return txn.c:base64(txn.c:hmac(purpose .. "\0" .. use, "sha512", txn.c:base64(settings.secret)))
    end
    found = { stream = derived("stream"), tag = derived("tag") }
    keys[purpose] = found
  end
  return found
end

local BLOCK = "<i8i8i8i8i8i8i8i8"

local function crypted(txn, key, nonce, text)
  local made, count = {}, 0
  for at = 1, #text, 64 do
    local piece = text:sub(at, at + 63)
    local whole = piece .. ("\0"):rep(64 - #piece)
    local a, b, c, d, e, f, g, h = BLOCK:unpack(whole)
    local i, j, k, l, m, n, o, p = BLOCK:unpack(txn.c:hmac(("<I4"):pack(count) .. nonce, "sha512", key))
    made[#made + 1] = BLOCK:pack(a ~ i, b ~ j, c ~ k, d ~ l, e ~ m, f ~ n, g ~ o, h ~ p):sub(1, #piece)
    count = count + 1
  end
  return table.concat(made)
end

-- In a time that says nothing about where they differ.
local function same(one, other)
  if #one ~= #other then return false end
  local differ = 0
  for at = 1, #one do differ = differ | (one:byte(at) ~ other:byte(at)) end
  return differ == 0
end

local function seal(txn, purpose, text)
  local key, nonce = keys_for(txn, purpose), random(16)
  local body = nonce .. crypted(txn, key.stream, nonce, text)
  return txn.c:ub64enc(body .. txn.c:hmac(body, "sha256", key.tag))
end

-- What was sealed, or nil.
local function open(txn, purpose, given)
  local raw = txn.c:ub64dec(given)
  if raw == nil or #raw < 48 then return nil end
  local key, body = keys_for(txn, purpose), raw:sub(1, -33)
  if not same(txn.c:hmac(body, "sha256", key.tag), raw:sub(-32)) then return nil end
  return crypted(txn, key.stream, body:sub(1, 16), body:sub(17))
end
