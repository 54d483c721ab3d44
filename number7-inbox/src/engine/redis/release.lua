-- Puts what a worker has claimed and never began back on the active list: all but what it has in
-- hand.
-- KEYS: what the worker has claimed, the active list
-- ARGV: the prefix of the metas, the tasks that the worker has in hand
local in_hand = {}
for i = 2, #ARGV do
    in_hand[ARGV[i]] = true
end
for _, task in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    if not in_hand[task] then
        local meta = ARGV[1] .. task
        -- Only then was its attempt counted.
        if redis.call('HGET', meta, 'status') == 'Running' then
            redis.call('HINCRBY', meta, 'attempts', -1)
            redis.call('HSET', meta, 'status', 'Pending')
            redis.call('HDEL', meta, 'locked_by', 'locked_at')
        end
        redis.call('SREM', KEYS[1], task)
        redis.call('LPUSH', KEYS[2], task)
    end
end
return redis.status_reply('OK')
