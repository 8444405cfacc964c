-- Who a certificate is for by its alternative names: HAProxy 2.8 tells the whole certificate (DER, ITU-T X.690), but only
-- the subject of what is in it. The handshake has checked its signature before anybody looks here. `consumers` is what
-- callers.py writes: name → consumer.

-- The element at a position: its tag, and where its content begins and ends.
local function element(der, at)
  local tag, size, first = der:byte(at), der:byte(at + 1), at + 2
  if size > 128 then
    local bytes = size - 128
    size = (">I" .. bytes):unpack(der, first)
    first = first + bytes
  elseif size == 128 then
    error("no length")  -- that is BER
  end
  local last = first + size - 1
  if last > #der then error("cut off") end
  return tag, first, last
end

local CERTIFICATE, EXTENSIONS, STRING = 0x30, 0xA3, 0x04
local NAMES = "\x06\x03\x55\x1D\x11"  -- subjectAltName, 2.5.29.17 (RFC 5280, 4.2.1.6)
local DNS, URI = 0x82, 0x86

-- The extensions of a certificate, or nil.
local function extensions(der)
  local _, at = element(der, 1)
  local tag, first, last = element(der, at)
  if tag ~= CERTIFICATE then return nil end
  at = first
  while at <= last do
    local kind, begin, ending = element(der, at)
    if kind == EXTENSIONS then
      local _, inside, over = element(der, begin)
      return inside, over
    end
    at = ending + 1
  end
end

local function consumer_of(der)
  local at, over = extensions(der)
  while at and at <= over do
    local _, first, last = element(der, at)
    if der:sub(first, first + #NAMES - 1) == NAMES then
      local tag, begin, ending = element(der, first + #NAMES)
      if tag ~= STRING then tag, begin, ending = element(der, ending + 1) end  -- behind whether it is critical
      local _, name_at, names_over = element(der, begin)
      local by_dns
      while name_at <= names_over do
        local kind, from, to = element(der, name_at)
        local found = (kind == DNS or kind == URI) and consumers[der:sub(from, to)]
        if found and kind == URI then return found end
        by_dns = by_dns or found
        name_at = to + 1
      end
      return by_dns
    end
    at = last + 1
  end
end

-- In hexadecimal: what a converter is given ends at a zero byte.
core.register_converters("certificate_consumer", function(hex)
  local der = hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
  local good, found = pcall(consumer_of, der)
  return good and found or ""  -- nothing would become a 0
end)
