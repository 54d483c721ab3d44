-- Puts tasks that a worker has claimed and never began back on the active list.
-- KEYS: what the worker has claimed, the active list
-- ARGV: the prefix of the metas, the tasks
for i = 2, #ARGV do
    local task, meta = ARGV[i], ARGV[1] .. ARGV[i]
    if redis.call('SREM', KEYS[1], task) == 1 then
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
