-- Seconds since the epoch of any of the three forms of an HTTP date (RFC 9110, 5.6.7); nil for what is none.
local MONTHS = { Jan = 1, Feb = 2, Mar = 3, Apr = 4, May = 5, Jun = 6, Jul = 7, Aug = 8, Sep = 9, Oct = 10, Nov = 11, Dec = 12 }

function moment(text)
  if text == nil then return nil end
  local day, month, year, hour, minute, second = text:match("^%a+, (%d%d)[ -](%a%a%a)[ -](%d%d%d?%d?) (%d%d):(%d%d):(%d%d) GMT$")
  if not day then
    month, day, hour, minute, second, year = text:match("^%a%a%a (%a%a%a) +(%d+) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$")
  end
  if not day or not MONTHS[month] then return nil end
  local y, m = tonumber(year), MONTHS[month]
  if y < 100 then y = y + (y < 70 and 2000 or 1900) end
  -- Days by the civil calendar, counted from March so that a leap day ends its year.
  if m <= 2 then y = y - 1 end
  local era = math.floor(y / 400)
  local of_era = y - era * 400
  local of_year = math.floor((153 * (m + (m > 2 and -3 or 9)) + 2) / 5) + tonumber(day) - 1
  local days = era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end
