-- Puts what workers have claimed that are not heard of back on the active list.
-- KEYS: the workers, the active list
-- ARGV: the second before which a worker is not heard of, the prefix of what workers have claimed,
--     and that of their metadata
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])) do
    local claimed = ARGV[2] .. worker
    for _, task in ipairs(redis.call('SMEMBERS', claimed)) do
        redis.call('LPUSH', KEYS[2], task)
    end
    redis.call('DEL', claimed, ARGV[3] .. worker)
    redis.call('ZREM', KEYS[1], worker)
end
return redis.status_reply('OK')
