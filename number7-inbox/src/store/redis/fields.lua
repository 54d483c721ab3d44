-- The fields of a hash: none of them if somebody has put something else in its place.
local function fields(key, ...)
    local found = redis.pcall('HMGET', key, ...)
    return found.err and {} or found
end

-- A number that counts attempts or milliseconds, or nothing if it is something else.
local function count(text)
    return text and #text < 16 and string.match(text, '^%d+$') and tonumber(text)
end

