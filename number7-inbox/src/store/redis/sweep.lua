-- Forgets events that were finished long ago. Returns how many.
-- ARGV: their state, milliseconds of retention, how many at most
local set = sets[ARGV[1]]
local old = redis.call('ZRANGEBYSCORE', set, '-inf', '(' .. now - ARGV[2], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(old) do
    forget(id, read(id))
    redis.call('ZREM', set, id)
end
return #old
