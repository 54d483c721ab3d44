-- Puts tasks that a worker has claimed and never began back on the active list.
-- KEYS: what the worker has claimed, the active list
-- ARGV: the prefix of the metas, the tasks, each with the time since when it is held
for i = 2, #ARGV, 2 do
    local task, since, meta = ARGV[i], ARGV[i + 1], ARGV[1] .. ARGV[i]
    local is_same = (redis.call('HGET', meta, 'claimed_at') or '') == since
    if is_same and redis.call('SREM', KEYS[1], task) == 1 then
        -- Only then was its attempt counted.
        if redis.call('HGET', meta, 'status') == 'Running' then
            redis.call('HINCRBY', meta, 'attempts', -1)
            redis.call('HSET', meta, 'status', 'Pending')
            redis.call('HDEL', meta, 'locked_by', 'locked_at')
        end
        redis.call('LPUSH', KEYS[2], task)
    end
end
return redis.status_reply('OK')
