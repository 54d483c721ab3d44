-- Puts what workers have claimed that are not heard of back on the active list, or to the suspects.
-- KEYS: the workers, the active list, the suspects
-- ARGV: seconds of a lease, how our workers' names begin, the prefix of what workers have claimed,
--     that of their metadata, that of the metas, how many attempts make a suspect
local before = redis.call('TIME')[1] - ARGV[1]
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. before)) do
    if string.sub(worker, 1, #ARGV[2]) == ARGV[2] then
        local claimed = ARGV[3] .. worker
        for _, task in ipairs(redis.call('SMEMBERS', claimed)) do
            local meta = ARGV[5] .. task
            local attempts = redis.call('HGET', meta, 'attempts')
            redis.call('HDEL', meta, 'locked_by', 'locked_at')
            if attempts and tonumber(attempts) >= tonumber(ARGV[6]) then
                redis.call('RPUSH', KEYS[3], task)
            else
                redis.call('LPUSH', KEYS[2], task)
            end
        end
        redis.call('DEL', claimed, ARGV[4] .. worker)
        redis.call('ZREM', KEYS[1], worker)
    end
end
return redis.status_reply('OK')
