-- Counts the events. Returns due, later, in hand, done, dead, for how many milliseconds the one
-- that is next in line has been due, how many workers were heard of in the last 30 seconds, how many jobs are overdue,
-- and for how many milliseconds the oldest of them has been.
-- KEYS: the active list, the suspects, the delayed tasks, the finished tasks, the dead letters, the
--     workers, the overdue jobs, all claims
-- ARGV: the prefix of the metas
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local due = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2])
    + redis.call('ZCOUNT', KEYS[3], '-inf', millis)
local later = redis.call('ZCOUNT', KEYS[3], '(' .. millis, '+inf')
local oldest = millis
for i = 1, 2 do
    local task = redis.call('LINDEX', KEYS[i], 0)
    local since = task and count(fields(ARGV[1] .. task, 'due_at')[1])
    if since then oldest = math.min(oldest, since) end
end
local resting = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if resting[2] then oldest = math.min(oldest, resting[2]) end
local job = redis.call('ZRANGE', KEYS[7], 0, 0, 'WITHSCORES')
return { due, later, redis.call('ZCARD', KEYS[8]), redis.call('ZCARD', KEYS[4]), redis.call('ZCARD', KEYS[5]),
    millis - oldest, redis.call('ZCOUNT', KEYS[6], now[1] - 30, '+inf'),
    redis.call('ZCARD', KEYS[7]), job[2] and math.floor(millis - job[2]) or 0 }
