-- Forgets finished tasks and their keys. Returns how many.
-- KEYS: the finished tasks or the dead letters, the keys, the data
-- ARGV: milliseconds of retention, how many at most, the prefix of the metas
local now = redis.call('TIME')
local before = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1]
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', before),
    'LIMIT', 0, ARGV[2])
for _, task in ipairs(old) do
    local meta = ARGV[3] .. task
    local key = fields(meta, 'idempotency_key')[1]
    if key then
        redis.call('HDEL', KEYS[2], key)
    end
    redis.call('HDEL', KEYS[3], task)
    redis.call('DEL', meta)
    redis.call('ZREM', KEYS[1], task)
end
return #old
