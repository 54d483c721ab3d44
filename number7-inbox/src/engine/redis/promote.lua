-- Puts tasks that are due on the active list, in steps: a script of apalis' would take all at
-- once, and fails for ever where there are more than 8,000.
-- KEYS: the delayed tasks, the active list
-- ARGV: how many at most
local now = redis.call('TIME')
local due = redis.call('ZRANGEBYSCORE', KEYS[1], 0, now[1] * 1000 + math.floor(now[2] / 1000),
    'LIMIT', 0, ARGV[1])
for _, task in ipairs(due) do
    redis.call('RPUSH', KEYS[2], task)
    redis.call('ZREM', KEYS[1], task)
end
return #due
