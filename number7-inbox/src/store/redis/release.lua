-- Puts tasks that a worker has claimed and never began back on the active list.
-- KEYS: what the worker has claimed, the active list, all claims, their leases
-- ARGV: the prefix of the metas, the tasks, each with the time since when it is held
for i = 2, #ARGV, 2 do
    local task, since, meta = ARGV[i], ARGV[i + 1], ARGV[1] .. ARGV[i]
    local known = fields(meta, 'claimed_at', 'status', 'attempts')
    if (known[1] or '') == since and redis.call('SREM', KEYS[1], task) == 1 then
        redis.call('ZREM', KEYS[3], task)
        redis.call('ZREM', KEYS[4], task)
        -- Only then was its attempt counted.
        if known[2] == 'Running' then
            if count(known[3]) then redis.call('HINCRBY', meta, 'attempts', -1) end
            redis.call('HSET', meta, 'status', 'Pending')
            redis.call('HDEL', meta, 'locked_by', 'locked_at')
        end
        redis.call('LPUSH', KEYS[2], task)
    end
end
return redis.status_reply('OK')
