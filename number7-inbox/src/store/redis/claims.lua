-- The claims that a worker holds, as event:attempt.
local function claims_of(worker)
    local claims, ending = {}, ':' .. worker
    for _, member in ipairs(redis.call('ZRANGE', running, 0, -1)) do
        if string.sub(member, -#ending) == ending then table.insert(claims, string.sub(member, 1, -#ending - 1)) end
    end
    return claims
end

