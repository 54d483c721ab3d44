-- How many members of a sorted set are not after a place: those with a lower score, and those with the same score that do not
-- come later in the order of their bytes. The place itself need not be in the set.
local function before(set, score, place)
    local low = redis.call('ZCOUNT', set, '-inf', '(' .. score)
    local high = redis.call('ZCOUNT', set, '-inf', score)
    local function is_after(member)
        for i = 1, math.min(#member, #place) do
            local byte, other = string.byte(member, i), string.byte(place, i)
            if byte ~= other then return byte > other end
        end
        return #member > #place
    end
    while low < high do
        local middle = math.floor((low + high) / 2)
        if is_after(redis.call('ZRANGE', set, middle, middle)[1]) then high = middle else low = middle + 1 end
    end
    return low
end

