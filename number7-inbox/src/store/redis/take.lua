-- Takes overdue jobs that are to be fetched now, which rest from then on. Returns each with whether it is
-- settled, and how often it was taken.
-- KEYS: the keys, the jobs to fetch
-- ARGV: the prefix of what is known of the jobs, how many at most, milliseconds of the first rest, of
--     the longest
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local taken = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', millis, 'LIMIT', 0, ARGV[2])) do
    local meta = ARGV[1] .. job
    local known = fields(meta, 'completed', 'failed', 'takes')
    local is_settled = known[1] and known[2] and (redis.call('HEXISTS', KEYS[1], known[1]) == 1
        or redis.call('HEXISTS', KEYS[1], known[2]) == 1)
    local takes = (count(known[3]) or 0) + 1
    if known[1] then redis.call('HSET', meta, 'takes', takes) end
    local rest = math.min(ARGV[4], ARGV[3] * 2 ^ math.min(takes - 1, 30))
    redis.call('ZADD', KEYS[2], string.format('%.0f', millis + rest), job)
    table.insert(taken, { job, is_settled and 1 or 0, takes })
end
return taken
